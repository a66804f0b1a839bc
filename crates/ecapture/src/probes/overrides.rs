//! What the user says of a file, in place of what is found in it: `--ssl_version`, `--symbol`, `--offset`, `--funcname`.

use anyhow::{Context, Result, bail};
use inspect::openssl::{Flavour, OpenSsl, functions, hook_at};
use inspect::{Binary, MOST_LOADS, MasterSecret, ObjectKeys, Path, Place, Purpose};

/// What the user says.
#[derive(Debug, Default, PartialEq)]
pub struct Overrides {
    version: Option<(String, Flavour)>,
    /// Functions and their virtual addresses.
    symbols: Vec<(String, u64)>,
    offsets: Vec<(Key, Path)>,
    function: Option<Given>,
}

/// A function of a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Given {
    /// Its name.
    pub name: &'static str,
    /// Its virtual address, where the file does not tell.
    pub address: Option<u64>,
}

/// What can be given an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    ClientRandom,
    MasterSecret,
    MasterLength,
    ExporterSecret,
}

const KEYS: [(&str, Key); 4] = [
    ("client_random", Key::ClientRandom),
    ("master_secret", Key::MasterSecret),
    ("master_length", Key::MasterLength),
    ("exporter_secret", Key::ExporterSecret),
];

/// How a version begins; eCapture's `boringssl_a_14` is one, too.
const FLAVOURS: [(&str, Flavour); 3] =
    [("openssl", Flavour::OpenSsl), ("boringssl", Flavour::BoringSsl), ("libressl", Flavour::LibreSsl)];

impl Overrides {
    /// Whether nothing is overridden.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks what was typed.
    ///
    /// # Errors
    /// A name that is not known, with those that are; a number that is none.
    pub fn new(version: Option<String>, symbols: &[String], offsets: &[String]) -> Result<Self> {
        Ok(Self {
            version: version.map(|text| version_of(&text)).transpose()?,
            symbols: symbols.iter().map(|text| symbol(text)).collect::<Result<_>>()?,
            offsets: offsets.iter().map(|text| offset(text)).collect::<Result<_>>()?,
            function: None,
        })
    }

    /// The function that has the statements of a server.
    ///
    /// # Errors
    /// The address is none.
    pub fn of_server(name: Option<String>, address: Option<&str>) -> Result<Self> {
        let parsed = |text| number(text).with_context(|| format!("--offset {text}: an address is expected"));
        let address = address.map(parsed).transpose()?;
        // Names of functions are constants, and this one is needed until the end.
        let function = name.map(|name| Given { name: Box::leak(name.into_boxed_str()), address });
        Ok(Self { function, ..Self::default() })
    }

    /// See [`of_server`](Self::of_server).
    pub fn function(&self) -> Option<&Given> {
        self.function.as_ref()
    }

    /// Whether there are functions to hook in a file in which none was found.
    pub fn has_symbols(&self) -> bool {
        !self.symbols.is_empty()
    }

    /// Puts what the user says in place of what was found.
    ///
    /// # Errors
    /// It does not fit the file, or something else is needed with it.
    pub fn apply(&self, binary: &Binary<'_>, facts: &mut OpenSsl) -> Result<()> {
        if let Some((text, flavour)) = &self.version {
            (facts.version, facts.flavour) = (Some(text.clone()), *flavour);
        }
        self.apply_offsets(facts)?;
        let client_random = facts.keys.map(|keys| keys.client_random);
        for (name, address) in &self.symbols {
            if name == "ssl_log_secret" && client_random.is_none() {
                bail!(
                    "--symbol {name}: where the client random is was not found; give --offset client_random=OFFSET"
                );
            }
            let hook = hook_at(binary, name, *address, client_random)
                .with_context(|| format!("--symbol {name}: there is no code at {address:#x}"))?;
            facts.hooks.retain(|found| found.function != hook.function);
            facts.hooks.push(hook);
        }
        Ok(())
    }

    fn apply_offsets(&self, facts: &mut OpenSsl) -> Result<()> {
        if self.offsets.is_empty() {
            return Ok(());
        }
        let given = |key| self.offsets.iter().rev().find(|(of, _)| *of == key).map(|(_, path)| *path);
        let found = facts.keys;
        let client_random = given(Key::ClientRandom)
            .or(found.map(|keys| keys.client_random))
            .context("--offset: where the client random is was not found; give client_random, too")?;
        let found_master = found.and_then(|keys| keys.master);
        let secret = given(Key::MasterSecret).or(found_master.map(|master| master.secret));
        let length = given(Key::MasterLength).or(found_master.map(|master| master.length));
        let (width, established) =
            found_master.map_or((4, false), |master| (master.width, master.established));
        if secret.is_some() != length.is_some() {
            bail!("--offset: master_secret and master_length are needed together");
        }
        facts.keys = Some(ObjectKeys {
            client_random,
            master: secret.zip(length).map(|(secret, length)| MasterSecret {
                secret,
                length,
                width,
                established,
            }),
            exporter: given(Key::ExporterSecret).or(found.and_then(|keys| keys.exporter)),
        });
        if given(Key::ClientRandom).is_some() {
            for hook in &mut facts.hooks {
                if let Purpose::Secret(secret) = &mut hook.purpose
                    && let Some(Place { base, path: Path::HERE }) = secret.object
                {
                    secret.client_random = Place { base, path: client_random };
                }
            }
        }
        Ok(())
    }
}

fn version_of(text: &str) -> Result<(String, Flavour)> {
    let lower = text.to_lowercase();
    match FLAVOURS.iter().find(|(name, _)| lower.starts_with(name)) {
        Some((_, flavour)) => Ok((text.to_owned(), *flavour)),
        None => {
            bail!("--ssl_version {text:?}: it begins with one of: {}", names(FLAVOURS.map(|(name, _)| name)))
        }
    }
}

fn symbol(text: &str) -> Result<(String, u64)> {
    let (name, address) =
        text.split_once('=').with_context(|| format!("--symbol {text}: NAME=0xADDRESS is expected"))?;
    if !functions().any(|known| known == name) {
        bail!("--symbol {name}: not a function that is hooked; known: {}", names(functions()));
    }
    let address =
        number(address).with_context(|| format!("--symbol {text}: {address:?} is not an address"))?;
    Ok((name.to_owned(), address))
}

fn offset(text: &str) -> Result<(Key, Path)> {
    let (name, way) =
        text.split_once('=').with_context(|| format!("--offset {text}: NAME=OFFSET is expected"))?;
    let Some((_, key)) = KEYS.iter().find(|(known, _)| *known == name) else {
        bail!("--offset {name}: not a key; known: {}", names(KEYS.map(|(name, _)| name)));
    };
    let offsets: Option<Vec<i32>> = way.split(',').map(|text| number(text)?.try_into().ok()).collect();
    let offsets = offsets.with_context(|| format!("--offset {text}: {way:?} is not an offset"))?;
    let path = offsets.split_last().and_then(|(add, loads)| Path::new(loads, *add));
    Ok((*key, path.with_context(|| format!("--offset {text}: more than {MOST_LOADS} pointers"))?))
}

/// Decimal, or hexadecimal with `0x`.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn names(names: impl IntoIterator<Item = &'static str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ways() {
        assert_eq!(symbol("SSL_read=0x1f0").expect("an address"), ("SSL_read".to_owned(), 0x1f0));
        let (key, path) = offset("master_secret=0x918,80").expect("a way");
        assert_eq!((key, path.loads(), path.add()), (Key::MasterSecret, &[0x918][..], 80));
        assert_eq!(offset("client_random=352").expect("an offset").1, Path::plus(352));
    }

    #[test]
    fn mistakes_are_told_with_what_is_known() {
        let refused = |option: &str, text: &str| {
            let texts = [text.to_owned()];
            let made = match option {
                "--ssl_version" => Overrides::new(Some(text.to_owned()), &[], &[]),
                "--symbol" => Overrides::new(None, &texts, &[]),
                _ => Overrides::new(None, &[], &texts),
            };
            format!("{:#}", made.expect_err("a mistake"))
        };
        let cases = [
            ("--ssl_version", "gnutls 3.7", "boringssl"),
            ("--symbol", "SSL_fly=0x1", "ssl_log_secret"),
            ("--symbol", "SSL_read", "NAME=0xADDRESS"),
            ("--symbol", "SSL_read=0xg", "\"0xg\""),
            ("--offset", "random=1", "client_random"),
            ("--offset", "client_random", "NAME=OFFSET"),
            ("--offset", "client_random=-1", "\"-1\""),
            ("--offset", "client_random=1,2,3,4,5", "more than 3 pointers"),
        ];
        for (option, text, words) in cases {
            let message = refused(option, text);
            assert!(message.starts_with(option) && message.contains(words), "{message}");
        }
    }
}
