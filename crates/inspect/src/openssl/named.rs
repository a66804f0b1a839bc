//! Files with symbols: the documented functions by name, and the internal ones that they share.

use super::internal::{Family, Shared};
use super::known::{self, Direction, PUBLIC, Public};
use super::{Flavour, OpenSsl, Refusal, single};
use crate::binary::Binary;
use crate::code::Decoder;
use crate::hook::{Evidence, Hook};
use crate::symbols::Symbols;
use crate::{site, version};

/// The plaintext hooks of a file, by its symbols.
pub(super) fn resolve(binary: &Binary<'_>, symbols: &Symbols) -> Result<OpenSsl, Refusal> {
    let texts = version::texts(binary);
    let flavour = flavour(&texts, symbols);
    let decoder = Decoder::default();
    let mut finder = Finder { binary, symbols, flavour, decoder, notes: vec![], missing: vec![] };
    let hooks = finder.hooks();
    let Finder { mut notes, missing, .. } = finder;
    if !hooks.iter().any(|hook| hook.purpose.moves_plaintext()) {
        return Err(if notes.is_empty() { Refusal::NotOpenSsl } else { Refusal::Unclear(notes) });
    }
    notes.extend(missing.iter().map(|direction| format!("no function that {direction}s is defined here")));
    Ok(OpenSsl { version: single(texts), flavour, hooks, keys: None, notes })
}

/// By version text, else by a function that only one of them has.
pub(super) fn flavour(texts: &[String], symbols: &Symbols) -> Flavour {
    match texts {
        [text] if text.contains("BoringSSL") || text.contains("AWS-LC") => Flavour::BoringSsl,
        [text] if text.starts_with("LibreSSL") => Flavour::LibreSsl,
        [text] if text.starts_with("OpenSSL") => Flavour::OpenSsl,
        _ => known::MARKS
            .iter()
            .find(|(name, _)| symbols.get(name).is_some())
            .map_or(Flavour::Unknown, |&(_, flavour)| flavour),
    }
}

struct Finder<'b, 'f> {
    binary: &'b Binary<'f>,
    symbols: &'b Symbols,
    flavour: Flavour,
    decoder: Decoder,
    notes: Vec<String>,
    missing: Vec<Direction>,
}

impl Finder<'_, '_> {
    fn hooks(&mut self) -> Vec<Hook> {
        for (name, [one, other]) in self.symbols.ambiguous() {
            self.notes.push(format!("{name}: two functions of that name, at {one:#x} and {other:#x}"));
        }
        let mut hooks = Vec::new();
        for direction in [Direction::Read, Direction::Write] {
            hooks.extend(self.plaintext(direction));
        }
        let rest = PUBLIC.iter().filter(|public| public.direction.is_none());
        hooks.extend(rest.filter_map(|public| self.public(public)));
        self.drop_shared_addresses(hooks)
    }

    /// The internal function of a direction and what does not go through it; else the public functions.
    fn plaintext(&mut self, direction: Direction) -> Vec<Hook> {
        let forms = || PUBLIC.iter().filter(move |public| public.direction == Some(direction));
        if !forms().any(|public| self.symbols.get(public.name).is_some()) {
            self.missing.push(direction);
            return Vec::new();
        }
        // There is no internal function that has the bytes.
        if self.flavour == Flavour::BoringSsl {
            return forms().filter_map(|public| self.public(public)).collect();
        }
        let family = Family::new(self.binary, self.symbols, &mut self.decoder, direction);
        match family.shared(&mut self.decoder) {
            Ok(shared) => {
                let uncovered = family.uncovered(&shared);
                let mut hooks: Vec<_> = self.internal(direction, shared).into_iter().collect();
                for public in forms().filter(|public| uncovered.contains(&public.name)) {
                    self.notes.push(format!("{}: does not call the others, hooked by itself", public.name));
                    hooks.extend(self.public(public));
                }
                hooks
            }
            Err(why) => {
                self.notes.push(format!("{}: {why}; using the public functions", direction.internal()));
                forms().filter_map(|public| self.public(public)).collect()
            }
        }
    }

    fn internal(&mut self, direction: Direction, shared: Shared) -> Option<Hook> {
        let purpose = direction.internal_purpose(shared.out);
        let function = (shared.address, shared.size);
        let site = site::choose(self.binary, &mut self.decoder, function, &purpose.arguments())?;
        let evidence = Evidence::SharedCallee { callers: shared.callers, named: shared.named };
        Some(Hook { function: direction.internal(), purpose, site, evidence })
    }

    fn public(&mut self, public: &Public) -> Option<Hook> {
        let symbol = *self.symbols.get(public.name)?;
        let function = (symbol.address, symbol.size);
        let site = site::choose(self.binary, &mut self.decoder, function, &public.purpose.arguments())?;
        let evidence = Evidence::Symbol(symbol.table);
        Some(Hook { function: public.name, purpose: public.purpose, site, evidence })
    }

    /// Linkers may fold functions of equal code into one; a hook there would see the calls of both.
    fn drop_shared_addresses(&mut self, hooks: Vec<Hook>) -> Vec<Hook> {
        let (symbols, notes) = (self.symbols, &mut self.notes);
        let mut kept: Vec<Hook> = Vec::new();
        for hook in hooks {
            let twin = symbols.iter().find(|other| {
                other.address == hook.site.address && known::differs(other.name, &hook.purpose)
            });
            match twin {
                Some(twin) => notes.push(format!("{}: same code as {}", hook.function, twin.name)),
                None if kept.iter().any(|other| other.site.address == hook.site.address) => {}
                None => kept.push(hook),
            }
        }
        kept
    }
}
