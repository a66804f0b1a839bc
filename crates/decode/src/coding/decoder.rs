//! Stacked encodings removed one after the other, within a limit.
use super::{Codec, Codings, Step, codec};
use crate::notes::{Note, Notes};
use crate::part::Part;

/// Output of one stage in one step.
const SCRATCH: usize = 16 << 10;
/// Input of one step. Output that a codec has not yet given out when it finds damage is lost; its input is
/// then `Undecoded`, and small steps make that little.
const BITE: usize = 1 << 10;
/// Input remembered until a stage makes its first output. If it fails before that, most likely the body is
/// not encoded at all, and all of it is given out.
const MEMORY: usize = 1 << 10;

type Out<'o> = dyn FnMut(Part<'_>) + 'o;

/// Removes all encodings of one body.
pub(crate) struct Decoder {
    /// The encoding applied last comes first.
    stages: Vec<Stage>,
    outcome: Outcome,
}

/// How it went.
#[derive(Clone, Copy)]
pub(crate) struct Outcome {
    /// Encoded bytes that were not looked at because of the cap.
    pub dropped: u64,
    cap: u64,
    capped: bool,
    damaged: bool,
    whole: bool,
}

struct Stage {
    codec: Box<dyn Codec>,
    scratch: Vec<u8>,
    /// All input as long as there is no output and it is short.
    memory: Vec<u8>,
    used: u64,
    made: u64,
    failed: bool,
}

impl Decoder {
    /// `None` if one of the encodings is unknown. No stage makes more than `cap` bytes.
    pub fn new(codings: Codings, cap: u64) -> Option<Self> {
        let codecs = codings.as_slice().iter().rev().map(|&coding| codec(coding));
        let stages = codecs.map(|codec| codec.map(Stage::new)).collect::<Option<_>>()?;
        let outcome = Outcome { dropped: 0, cap, capped: false, damaged: false, whole: true };
        Some(Self { stages, outcome })
    }

    /// Bytes that it has allocated, about.
    pub fn memory(&self) -> usize {
        let stage = |stage: &Stage| SCRATCH + stage.memory.capacity() + stage.codec.memory();
        self.stages.iter().map(stage).sum::<usize>() + size_of::<Self>()
    }

    /// The next bytes of the encoded body.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let left = run(&mut self.stages, bytes, &mut self.outcome, out);
        self.outcome.dropped += left as u64;
    }

    /// Bytes are missing here: gives out what can be had, and decodes no more.
    pub fn stop(&mut self, out: &mut Out<'_>) {
        drain(&mut self.stages, &mut self.outcome, out);
        if let Some(stage) = self.stages.first_mut() {
            stage.failed = true;
        }
    }

    /// The body is over.
    pub fn finish(&mut self, out: &mut Out<'_>) -> Outcome {
        drain(&mut self.stages, &mut self.outcome, out);
        self.outcome
    }
}

impl Outcome {
    /// Says what is odd. A stream that stops early is the fault of its encoder only if the body is complete.
    pub fn remark(&self, notes: &mut Notes, complete: bool) {
        if self.capped {
            notes.add(Note::Capped);
        }
        if self.damaged || (complete && !self.whole && !self.capped) {
            notes.add(Note::BadCoding);
        }
    }
}

fn undecoded(bytes: &[u8], out: &mut Out<'_>) {
    if !bytes.is_empty() {
        out(Part::Undecoded(bytes));
    }
}

impl Stage {
    fn new(codec: Box<dyn Codec>) -> Self {
        Self { codec, scratch: vec![0; SCRATCH], memory: Vec::new(), used: 0, made: 0, failed: false }
    }

    fn remember(&mut self, used: &[u8], made: usize) {
        self.used += used.len() as u64;
        self.made += made as u64;
        if self.made > 0 {
            self.memory = Vec::new();
        } else if self.used <= MEMORY as u64 {
            self.memory.extend_from_slice(used);
        }
    }

    /// Gives out input that was taken in vain.
    fn give_back(&mut self, out: &mut Out<'_>) {
        let all = self.memory.len() as u64 == self.used;
        undecoded(if all { &self.memory } else { self.codec.pending() }, out);
    }
}

/// Sends `input` through `stages`. Returns how many bytes were left because of the limit.
fn run(stages: &mut [Stage], mut input: &[u8], outcome: &mut Outcome, out: &mut Out<'_>) -> usize {
    let Some((stage, inner)) = stages.split_first_mut() else {
        out(Part::Body(input));
        return 0;
    };
    loop {
        if outcome.capped {
            return input.len();
        }
        if stage.failed {
            undecoded(input, out);
            return 0;
        }
        let step = advance(stage, inner, input, outcome, out);
        input = &input[step.used..];
        if step.damaged {
            outcome.damaged = true;
            stage.failed = true;
            empty(stage, inner, outcome, out);
            stage.give_back(out);
        } else if step.used == 0 && step.made == 0 {
            return input.len();
        }
    }
}

/// One step of one stage; its output goes through `inner`.
fn advance(
    stage: &mut Stage,
    inner: &mut [Stage],
    input: &[u8],
    outcome: &mut Outcome,
    out: &mut Out<'_>,
) -> Step {
    let left = usize::try_from(outcome.cap - stage.made).unwrap_or(usize::MAX);
    // One byte more than allowed tells a body that just fits from one that does not.
    let room = left.saturating_add(1).min(SCRATCH);
    let step = stage.codec.step(&input[..input.len().min(BITE)], &mut stage.scratch[..room]);
    let allowed = step.made.min(left);
    stage.remember(&input[..step.used], allowed);
    if allowed > 0 {
        run(inner, &stage.scratch[..allowed], outcome, out);
    }
    outcome.capped |= allowed < step.made;
    step
}

/// Gets out of each stage what it still has, outermost first.
fn drain(stages: &mut [Stage], outcome: &mut Outcome, out: &mut Out<'_>) {
    let Some((stage, inner)) = stages.split_first_mut() else { return };
    if !stage.failed && stage.used > 0 && !stage.codec.is_whole() {
        outcome.whole = false;
        empty(stage, inner, outcome, out);
        if !outcome.capped {
            stage.give_back(out);
        }
        stage.failed = true;
    }
    drain(inner, outcome, out);
}

/// Gets out what needs no more input.
fn empty(stage: &mut Stage, inner: &mut [Stage], outcome: &mut Outcome, out: &mut Out<'_>) {
    stage.codec.salvage();
    while !outcome.capped && advance(stage, inner, &[], outcome, out).made > 0 {}
}
