//! Finds the internal function of a direction as the one that its public functions share.
//!
//! In each caller the position of the out argument follows from the code: the address of a local
//! variable, or the caller's own argument passed on. All callers must agree.

use std::collections::BTreeMap;

use super::known::{Direction, Form, PUBLIC, Public};
use crate::binary::Binary;
use crate::code::flow::{CallSite, Summary, Value, summarize, swept_targets};
use crate::code::{Decoder, MOST_ARGS, Target, reached};
use crate::hook::Arg;
use crate::site::function_code;
use crate::symbols::Symbols;

/// Arguments (object, buffer, length) that come before a possible out argument.
const FIRST_OUT: usize = 3;

/// The internal function.
pub(super) struct Shared {
    pub(super) address: u64,
    /// 0 if no symbol tells.
    pub(super) size: u64,
    pub(super) out: Arg,
    pub(super) callers: Vec<&'static str>,
    pub(super) named: bool,
}

/// To be read after the name of the function that was looked for.
pub(super) use crate::Why;

/// Positions (one bit each, counted from 0) that may be the out argument of a function.
type Outs = u32;

/// The public functions of one direction that the file defines, and what they call.
pub(super) struct Family<'b, 'f> {
    binary: &'b Binary<'f>,
    symbols: &'b Symbols,
    direction: Direction,
    members: Vec<Member>,
    strangers: Vec<Summary>,
}

struct Member {
    public: &'static Public,
    address: u64,
    summary: Summary,
    targets: Vec<(u64, Target)>,
}

impl<'b, 'f> Family<'b, 'f> {
    pub(super) fn new(
        binary: &'b Binary<'f>,
        symbols: &'b Symbols,
        decoder: &mut Decoder,
        direction: Direction,
    ) -> Self {
        let mut summary = |name: &str| {
            // Without a size the end of the function is unknown, and so what it calls.
            let symbol = symbols.get(name).filter(|symbol| symbol.size != 0)?;
            let code = function_code(binary, symbol.address, symbol.size);
            Some((symbol.address, summarize(&code, decoder), swept_targets(&code, decoder)))
        };
        let members = PUBLIC
            .iter()
            .filter(|public| public.direction == Some(direction))
            .filter_map(|public| {
                let (address, summary, targets) = summary(public.name)?;
                Some(Member { public, address, summary, targets })
            })
            .collect();
        let strangers = direction.strangers().iter().filter_map(|name| Some(summary(name)?.1)).collect();
        Self { binary, symbols, direction, members, strangers }
    }

    /// The function that all callers pass their arguments to, if there is exactly one.
    pub(super) fn shared(&self, decoder: &mut Decoder) -> Result<Shared, Why> {
        let callers: Vec<_> = self.direct_callers().collect();
        let has = |wanted: fn(Form) -> bool| callers.iter().any(|member| wanted(member.public.form));
        if !has(|form| form == Form::Local) || !has(|form| matches!(form, Form::Passed(_))) {
            return Err("only one of its callers is known");
        }
        let all = callers.iter().map(|member| self.receivers(member));
        let common = all.reduce(intersect).unwrap_or_default();
        let mut common = common.into_iter().filter(|&(address, _)| !self.known_to_strangers(address));
        let (address, outs) =
            common.next().ok_or("its callers share no call that passes their arguments on")?;
        if common.next().is_some() {
            return Err("its callers share more than one call");
        }
        if !outs.is_power_of_two() {
            return Err("its callers disagree about the out argument");
        }
        if self.strangers.is_empty() {
            return Err("there is no function to tell it from");
        }
        let (size, named) = self.check_name(address)?;
        let out = Arg(outs.trailing_zeros() as u8 + 1);
        if !named && !self.calls_the_protocol(decoder, (address, size), out) {
            return Err("the shared call is not seen to reach the protocol's own function");
        }
        let callers = callers.iter().map(|member| member.public.name).collect();
        Ok(Shared { address, size, out, callers, named })
    }

    /// Public functions that do not call the internal one, directly or through another.
    pub(super) fn uncovered(&self, shared: &Shared) -> Vec<&'static str> {
        let covered = |member: &Member| {
            let mut calls = member.targets.iter().filter_map(|(_, target)| reached(self.binary, *target));
            calls.any(|to| to == shared.address || self.members.iter().any(|other| other.address == to))
        };
        self.members.iter().filter(|member| !covered(member)).map(|member| member.public.name).collect()
    }

    /// Members that should call the internal function themselves: not those that hand everything to
    /// another member, as `SSL_write_ex` does to `SSL_write_ex2` since 3.3.
    fn direct_callers(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| {
            matches!(member.public.form, Form::Local | Form::Passed(_)) && !self.hands_over(member)
        })
    }

    fn hands_over(&self, member: &Member) -> bool {
        let receivers = self.receivers(member);
        self.members.iter().any(|other| match other.public.form {
            Form::Passed(out) => {
                receivers.get(&other.address).is_some_and(|outs| outs & 1 << (out.0 - 1) != 0)
            }
            _ => false,
        })
    }

    /// Functions to which a member passes its object, buffer and length in the same places, and an out
    /// argument. All calls of the same function must agree.
    fn receivers(&self, member: &Member) -> BTreeMap<u64, Outs> {
        let mut receivers = BTreeMap::new();
        if !member.summary.complete {
            return receivers;
        }
        for call in &member.summary.calls {
            if let Some(to) = reached(self.binary, call.target) {
                *receivers.entry(to).or_insert(Outs::MAX) &= outs(call, member.public.form);
            }
        }
        receivers.retain(|_, outs| *outs != 0);
        receivers
    }

    fn known_to_strangers(&self, address: u64) -> bool {
        let mut calls = self.strangers.iter().flat_map(|summary| &summary.calls);
        calls.any(|call| reached(self.binary, call.target) == Some(address))
    }

    /// Whether the function itself calls `s->method->ssl_read(s, buf, num, readbytes)` (or `ssl_write`): a
    /// pointer, with its own arguments. Only the internal function does, and it confirms the out argument.
    /// Where the compiler inlined it, its callers can still share a call, but to the branch for QUIC
    /// (`ossl_quic_write_flags` in Node.js 24), which TLS never takes.
    fn calls_the_protocol(&self, decoder: &mut Decoder, (address, size): (u64, u64), out: Arg) -> bool {
        let summary = summarize(&function_code(self.binary, address, size), decoder);
        let arguments = [Value::Arg(0), Value::Arg(1), Value::Arg(2), Value::Arg(out.0 - 1)];
        summary.calls.iter().any(|call| call.target == Target::Unknown && call.args.starts_with(&arguments))
    }

    /// Where a symbol names the internal function it must be the one found. Gives its size.
    fn check_name(&self, address: u64) -> Result<(u64, bool), Why> {
        let name = self.direction.internal();
        if self.symbols.ambiguous().any(|(other, _)| other == name) {
            return Err("two functions have that name");
        }
        match self.symbols.get(name) {
            Some(symbol) if symbol.address == address => Ok((symbol.size, true)),
            Some(_) => Err("its callers share a call to another function than the one of that name"),
            None => Ok((0, false)),
        }
    }
}

fn intersect(mut some: BTreeMap<u64, Outs>, others: BTreeMap<u64, Outs>) -> BTreeMap<u64, Outs> {
    some.retain(|address, outs| others.get(address).map(|other| *outs &= other).is_some());
    some
}

/// The possible out arguments of a call; none if it does not get the caller's own arguments.
fn outs(call: &CallSite, form: Form) -> Outs {
    let object_and_buffer = call.args[..2] == [Value::Arg(0), Value::Arg(1)];
    // The length of SSL_read is an int that becomes a size_t.
    let length = matches!(call.args[2], Value::Arg(2) | Value::Half(2));
    if !object_and_buffer || !length {
        return 0;
    }
    let is_out = |value: Value| match form {
        Form::Local => matches!(value, Value::Frame(at) if at < 0),
        Form::Passed(out) => value == Value::Arg(out.0 - 1),
        Form::Indirect | Form::Other => false,
    };
    let places = (FIRST_OUT..MOST_ARGS).filter(|&place| is_out(call.args[place]));
    places.fold(0, |outs, place| outs | 1 << place)
}
