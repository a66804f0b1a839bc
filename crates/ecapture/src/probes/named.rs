//! Hooks on functions that a file names: what the shape "command text" is built from.

use inspect::{Arg, Binary, Cost, ElfError, Site, Symbol, SymbolTable, Symbols};

use super::Found;
use super::overrides::Given;
use crate::bpf::{Field, FieldKind, Hook, Place, Start, TextHook};

/// Named functions and variables of a file, and the hooks on them so far.
pub struct Named<'b> {
    binary: &'b Binary<'b>,
    functions: Symbols,
    /// A function whose address the user knows.
    given: Option<Symbol>,
    variables: Symbols,
    hooks: Vec<Hook>,
    /// Hooked functions, for people.
    described: Vec<String>,
}

impl<'b> Named<'b> {
    /// Looks the names up.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn new(
        binary: &'b Binary<'b>,
        functions: &[&'static str],
        variables: &[&'static str],
    ) -> Result<Self, ElfError> {
        Ok(Self {
            functions: binary.symbols(functions)?,
            variables: binary.variables(variables)?,
            binary,
            given: None,
            hooks: Vec::new(),
            described: Vec::new(),
        })
    }

    /// Takes what the user says of a function.
    ///
    /// # Errors
    /// The file has no such function; in words.
    pub fn give(&mut self, given: &Given) -> Result<(), String> {
        let Given { name, address } = *given;
        self.given = address.map(|address| Symbol { name, address, size: 0, table: SymbolTable::Static });
        match (self.site(name, &[]), address) {
            (Some(_), _) => Ok(()),
            (None, Some(address)) => Err(format!("--offset: there is no code at {address:#x}")),
            (None, None) => Err(format!("--funcname {name}: the file has no function of that name")),
        }
    }

    /// Whether the file has this function.
    pub fn has(&self, function: &str) -> bool {
        self.symbol(function).is_some()
    }

    /// What a variable holds when a function is called; `None` if the file does not have it.
    pub fn variable(&self, name: &str, kind: FieldKind) -> Option<Field> {
        let address = self.variables.get(name)?.address;
        // From address 0 for now: where the probe is shows when the hook is made.
        Some(Field::new(Start::Probe, kind).over(&[], i32::try_from(address).ok()?))
    }

    /// The text to which a variable points.
    pub fn pointer(&self, name: &str) -> Option<Field> {
        let variable = self.variable(name, FieldKind::Text)?;
        let at = variable.at.add;
        Some(variable.over(&[at], 0))
    }

    /// From the probe on a function to a variable, bytes.
    pub fn distance(&self, function: &str, name: &str) -> Option<i32> {
        let site = self.site(function, &[])?;
        let probe = i64::try_from(site.address + u64::from(site.skip)).ok()?;
        i32::try_from(i64::try_from(self.variables.get(name)?.address).ok()? - probe).ok()
    }

    /// Hooks a function where it is called. Whether the file has it.
    pub fn at(&mut self, function: &str, mut hook: TextHook) -> bool {
        let arguments: Vec<Arg> = hook.arguments().map(Arg).collect();
        let Some(site) = self.site(function, &arguments) else { return false };
        let Ok(probe) = i32::try_from(site.address + u64::from(site.skip)) else { return false };
        for field in hook.fields.iter_mut().filter(|field| field.at.start == Start::Probe) {
            match (field.at.loads.first_mut(), field.kind) {
                (Some(load), _) => *load -= probe,
                (None, FieldKind::Value) => {} // the address of the probe itself
                (None, _) => field.at.add -= probe,
            }
        }
        self.push(function, site, Place::Text(hook))
    }

    /// Hooks a function where it returns. Whether the file has it.
    pub fn after(&mut self, function: &str, hook: TextHook) -> bool {
        let Some(site) = self.site(function, &[]) else { return false };
        self.push(function, site, Place::TextAfter(hook))
    }

    /// The hooks, with the name of the program for people.
    pub fn found(self, program: &str) -> Box<Found> {
        Box::new(Found {
            hooks: self.hooks,
            keys: None,
            without_keys: false,
            description: format!("{program}; {}", self.described.join(", ")),
            notes: Vec::new(),
        })
    }

    fn site(&self, function: &str, arguments: &[Arg]) -> Option<Site> {
        self.binary.site(self.symbol(function)?, arguments)
    }

    fn symbol(&self, function: &str) -> Option<&Symbol> {
        let given = self.given.as_ref().filter(|given| given.name == function);
        given.or_else(|| self.functions.get(function))
    }

    fn push(&mut self, function: &str, site: Site, place: Place) -> bool {
        self.hooks.push(Hook {
            function: function.to_owned().into(),
            place,
            offset: site.file_offset,
            address: site.address,
            site: site.address + u64::from(site.skip),
        });
        let slow = if site.cost == Cost::Stepped { " (slow site)" } else { "" };
        let name = format!("{function}{slow}");
        if !self.described.contains(&name) {
            self.described.push(name);
        }
        true
    }
}
