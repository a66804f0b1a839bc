//! Names of functions in both schemes: <https://doc.rust-lang.org/rustc/symbol-mangling/index.html>. An identifier
//! stands in both with its length before it, so one piece of text finds a method in either.

use crate::binary::Binary;
use crate::error::ElfError;

/// Bytes of the hash at the end of a name of the legacy scheme.
const HASH: usize = 16;

/// Whether a symbol is the function that its name has this piece of, and not something inside of it, such as a closure.
pub(super) fn is_of_rustls(name: &str, piece: &str) -> bool {
    let Some((before, after)) = name.split_once(piece) else { return false };
    // What the compiler adds to make names unique.
    let after = after.split_once('.').map_or(after, |(after, _)| after);
    if before.starts_with("_ZN") {
        let hash = after.strip_prefix("17h").and_then(|rest| rest.strip_suffix('E'));
        let is_hash =
            hash.is_some_and(|hash| hash.len() == HASH && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        return is_hash && name.contains("rustls");
    }
    // Behind the path there may be the crate that made it of a generic one.
    let is_whole = after.is_empty() || after.starts_with("Cs") || after.starts_with('B');
    before.starts_with("_RNv") && is_whole && name.contains("6rustls")
}

/// Whether a symbol is what ends a value of the type that its name has this piece of, and not one with such a value in it.
pub(super) fn is_drop(name: &str, piece: &str) -> bool {
    let Some((before, after)) = name.split_once(piece) else { return false };
    if before.starts_with("_ZN") {
        return before.ends_with("drop_in_place$LT$");
    }
    let Some((_, path)) = before.split_once("13drop_in_place") else { return false };
    let path = path.strip_prefix('I').unwrap_or(path);
    let is_path = path.starts_with("NtNtCs") && path.find('_') == Some(path.len() - 1);
    before.starts_with("_RINv") && is_path && !after.is_empty()
}

/// Whether any function of rustls has a symbol.
pub(super) fn has_any(binary: &Binary<'_>) -> Result<bool, ElfError> {
    Ok(!binary
        .functions_with("6rustls", |name, _| name.starts_with("_ZN") || name.starts_with("_R"))?
        .is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_values_are_told_from_those_of_what_has_them() {
        for (name, piece, is) in [
            (
                "_ZN4core3ptr54drop_in_place$LT$rustls..common_state..CommonState$GT$17h0E.llvm.1",
                "rustls..common_state..CommonState$GT$17h",
                true,
            ),
            (
                "_ZN4core3ptr80drop_in_place$LT$core..option..Option$LT$rustls..common_state..CommonState$GT$$GT$17h0E",
                "rustls..common_state..CommonState$GT$17h",
                false,
            ),
            (
                "_RINvNtCs1_4core3ptr13drop_in_placeNtNtCs2_6rustls12common_state11CommonStateEBK_",
                "6rustls12common_state11CommonStateE",
                true,
            ),
            (
                "_RINvNtCs1_4core3ptr13drop_in_placeINtNtCs3_4core6option6OptionNtNtCs2_6rustls12common_state11CommonStateEEB4_",
                "6rustls12common_state11CommonStateE",
                false,
            ),
        ] {
            assert_eq!(is_drop(name, piece), is, "{name}");
        }
    }

    #[test]
    fn methods_are_told_in_both_schemes() {
        let piece = "11KeySchedule20derive_logged_secret";
        for (name, is) in [
            ("_ZN6rustls5tls1312key_schedule11KeySchedule20derive_logged_secret17h0123456789abcdefE", true),
            (
                "_ZN6rustls5tls1312key_schedule11KeySchedule20derive_logged_secret17h0123456789abcdefE.llvm.77",
                true,
            ),
            (
                "_ZN6rustls5tls1312key_schedule11KeySchedule20derive_logged_secret28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
                false,
            ),
            ("_RNvMs_NtNtCs1_6rustls5tls1312key_scheduleNtB4_11KeySchedule20derive_logged_secret", true),
            (
                "_RNCNvMs_NtNtCs1_6rustls5tls1312key_scheduleNtB4_11KeySchedule20derive_logged_secret0B6_",
                false,
            ),
            ("_ZN5other11KeySchedule20derive_logged_secret17h0123456789abcdefE", false),
            ("_ZN6rustls4conn4name17h0123456789abcdefE", false),
        ] {
            assert_eq!(is_of_rustls(name, piece), is, "{name}");
        }
    }
}
