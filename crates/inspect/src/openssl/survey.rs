//! The texts that tell functions apart, and the code that loads them: one walk over the constants of a file and one
//! over its code.

use std::collections::{BTreeMap, BTreeSet};

use super::internal::Why;
use super::known::REPORTED;
use super::prf;
use super::source::{FILES, Source};
use crate::binary::Binary;
use crate::constants::search;
use crate::error::ElfError;
use crate::functions::Functions;
use crate::labels::{self, LABELS};
use crate::references::{Reference, Use, Wanted, references};

/// What is in the constants.
#[derive(Default)]
pub(super) struct Texts {
    /// Names of secrets in a key log, by address.
    pub(super) labels: labels::Places,
    /// Names of functions that OpenSSL gives with its errors, by address.
    pub(super) names: BTreeMap<u64, &'static str>,
    /// Where [`prf::SEED`] is.
    pub(super) seeds: BTreeSet<u64>,
    /// Paths of source files.
    pub(super) sources: Vec<Source>,
    /// There are too many to be trusted.
    too_many: bool,
}

/// What a text is.
#[derive(Clone, Copy)]
enum Kind {
    Label,
    Name,
    Seed,
    File,
}

impl Texts {
    pub(super) fn find(binary: &Binary<'_>) -> Result<Self, ElfError> {
        let labels = LABELS.iter().map(|label| (Kind::Label, *label));
        let names = REPORTED.iter().map(|(name, _)| (Kind::Name, *name));
        let files = FILES.iter().map(|file| (Kind::File, *file));
        let seed = [(Kind::Seed, prf::SEED)];
        let all: Vec<_> = labels.chain(names).chain(seed).chain(files).collect();
        let bytes: Vec<_> = all.iter().map(|(_, text)| text.as_bytes()).collect();
        let mut texts = Self::default();
        let all_seen = search(binary, &bytes, |address, before, which| {
            let (kind, text) = all[which];
            match kind {
                Kind::Label => drop(texts.labels.insert(address, text)),
                Kind::Name => drop(texts.names.insert(address, text)),
                Kind::Seed => drop(texts.seeds.insert(address)),
                Kind::File => Source::add(&mut texts.sources, text, address, before),
            }
        })?;
        texts.too_many = !all_seen;
        Ok(texts)
    }

    /// Nothing of the library is there.
    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.sources.iter().all(|source| source.language().is_none())
    }

    fn wanted(&self) -> Wanted {
        let texts = self
            .labels
            .keys()
            .chain(self.names.keys())
            .chain(&self.seeds)
            .map(|&at| at..at.saturating_add(1));
        texts.chain(self.sources.iter().flat_map(|source| source.starts.iter().cloned())).collect()
    }
}

/// The texts and what loads them.
pub(super) struct Survey<'b, 'f> {
    pub(super) texts: Texts,
    /// Instructions that load a text.
    pub(super) loads: Vec<Reference>,
    /// All functions of the file; or why the code says nothing.
    pub(super) functions: Result<Functions<'b, 'f>, Why>,
}

impl<'b, 'f> Survey<'b, 'f> {
    pub(super) fn read(binary: &'b Binary<'f>) -> Result<Self, ElfError> {
        let texts = Texts::find(binary)?;
        let nothing = |texts, why| Self { texts, loads: Vec::new(), functions: Err(why) };
        if texts.too_many {
            return Ok(nothing(texts, "its texts are in too many places"));
        }
        let Some(mut loads) = references(binary, &texts.wanted())? else {
            return Ok(nothing(texts, "too much code"));
        };
        loads.retain(|found| found.used == Use::Load);
        let functions = Functions::read(binary).ok_or("it does not say where functions are");
        Ok(Self { texts, loads, functions })
    }

    /// The source files whose path is loaded. Data may have paths, too, such as a library for another machine.
    pub(super) fn sources(&self) -> impl Iterator<Item = &Source> {
        let is_loaded = |source: &&Source| self.loads.iter().any(|load| source.contains(load.to));
        self.texts.sources.iter().filter(is_loaded)
    }
}
