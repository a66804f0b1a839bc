//! Where the end of a call can be seen: the instructions by which a function returns, and those to which it returns.

use std::collections::BTreeSet;

use crate::binary::{Binary, Machine};
use crate::code::{Code, Decoder, Flow, Insn, Target, reached};
use crate::site::function_code;
use crate::unwind::Unwind;

/// Most instructions by which a function may return: each becomes a probe.
const MOST: usize = 64;

/// File offsets of all instructions by which the function at an address returns, in order. `None` if they are not known
/// for sure: its size is unknown, it jumps to other functions or to computed addresses, or it ends in something unclear.
pub fn returns(binary: &Binary<'_>, function: u64) -> Option<Vec<u64>> {
    let extent = Unwind::read(binary)?.around(function).filter(|extent| extent.start == function)?;
    let code = function_code(binary, extent.start, extent.end - extent.start);
    let returns = addresses(&code, &mut Decoder::default()).filter(|all| all.len() <= MOST)?;
    returns.into_iter().map(|address| binary.file_offset(address)).collect()
}

/// File offset of the instruction at `address` if it is behind a direct call of the function that starts at `function`.
pub fn behind_call(binary: &Binary<'_>, function: u64, address: u64) -> Option<u64> {
    let length = match binary.machine() {
        Machine::X86_64 => 5, // call rel32
        Machine::Aarch64 => 4,
    };
    let code = Code::read(binary, address.checked_sub(length)?, length);
    match code.decode(&mut Decoder::default(), code.start)? {
        Insn { len, flow: Flow::Call(target), .. } if u64::from(len) == length => {
            (reached(binary, target)? == function).then_some(())?;
            binary.file_offset(address)
        }
        _ => None,
    }
}

/// Follows all paths from the start of `code`, a whole function.
fn addresses(code: &Code, decoder: &mut Decoder) -> Option<BTreeSet<u64>> {
    let (mut seen, mut returns, mut pending) = (BTreeSet::new(), BTreeSet::new(), vec![code.start]);
    while let Some(address) = pending.pop() {
        if !seen.insert(address) {
            continue;
        }
        let insn = code.decode(decoder, address)?;
        let next = address.checked_add(u64::from(insn.len))?;
        match insn.flow {
            Flow::Next => pending.push(next),
            Flow::Branch(to, _) => pending.extend([to, next]),
            Flow::Jump(Target::Address(to)) => pending.push(to),
            Flow::Jump(_) => return None,
            // A call at the very end does not come back.
            Flow::Call(_) => pending.extend(code.contains(next).then_some(next)),
            Flow::Return => {
                returns.insert(address);
            }
            Flow::Stop => {}
        }
    }
    Some(returns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(machine: Machine, bytes: &[u8]) -> Option<Vec<u64>> {
        let code = Code::from_bytes(machine, 0x1000, bytes);
        addresses(&code, &mut Decoder::default()).map(|all| all.into_iter().collect())
    }

    fn x86(bytes: &[u8]) -> Option<Vec<u64>> {
        found(Machine::X86_64, bytes)
    }

    #[test]
    fn every_path_is_followed() {
        // test %edi,%edi; je +1; ret; xor %eax,%eax; repz ret
        assert_eq!(x86(b"\x85\xff\x74\x01\xc3\x31\xc0\xf3\xc3"), Some(vec![0x1004, 0x1007]));
        // push %rbx; jmp over data; pop %rbx; ret
        assert_eq!(x86(b"\x53\xeb\x02\xc3\xc3\x5b\xc3"), Some(vec![0x1006]));
    }

    #[test]
    fn what_does_not_come_back_is_no_return() {
        // test %edi,%edi; je +1; ret; ud2
        assert_eq!(x86(b"\x85\xff\x74\x01\xc3\x0f\x0b"), Some(vec![0x1004]));
        // the same with a call at the end
        assert_eq!(x86(b"\x85\xff\x74\x01\xc3\xe8\0\x10\0\0"), Some(vec![0x1004]));
    }

    #[test]
    fn jumps_elsewhere_and_unclear_ends_are_refused() {
        let cases: [&[u8]; 5] = [
            b"\x85\xff\x74\x01\xc3\xe9\0\x10\0\0", // jmp out
            b"\x85\xff\x0f\x84\0\x10\0\0\xc3",     // je out
            b"\x85\xff\x74\x01\xc3\xff\xe0",       // jmp *%rax
            b"\x85\xff\x74\x01\xc3\x90",           // falls off the end
            b"\x85\xff\x74\x01\xc3\x06",           // no instruction
        ];
        for code in cases {
            assert_eq!(x86(code), None, "{code:x?}");
        }
    }

    #[test]
    fn arm64() {
        // cbz w0,+8; ret; retaa
        let words: [u32; 3] = [0x3400_0040, 0xd65f_03c0, 0xd65f_0bff];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(found(Machine::Aarch64, &bytes), Some(vec![0x1004, 0x1008]));
        // br x1
        assert_eq!(found(Machine::Aarch64, &0xd61f_0020u32.to_le_bytes()), None);
    }
}
