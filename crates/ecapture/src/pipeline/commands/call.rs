//! Records of the kernel to calls: what a hook told at once, with its texts in one piece.

use rustc_hash::FxHashMap;

use crate::bpf::{MOST_FIELDS, TextEvent};
use crate::probes::Point;
use crate::record::Origin;
use crate::targets;

/// Most bytes of a text that are kept: more than any server takes but one whose limits were raised.
const LONGEST: usize = 64 << 20;

/// What a hook told.
#[derive(Debug)]
pub struct Call {
    /// Which hook.
    pub point: Point,
    /// When, monotonic ns.
    pub time: u64,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
    /// Command name of the thread.
    pub comm: String,
    /// Its values.
    pub values: [u64; MOST_FIELDS],
    texts: [Vec<u8>; MOST_FIELDS],
    /// Why its texts are not whole; empty when they are.
    pub defect: &'static str,
    /// Earlier records of the thread were lost.
    pub after_loss: bool,
}

impl Call {
    /// Takes a text out; empty if there is none.
    pub fn text(&mut self, field: usize) -> Vec<u8> {
        self.texts.get_mut(field).map(std::mem::take).unwrap_or_default()
    }

    /// The same as a name; `None` when it is empty.
    pub fn name(&mut self, field: usize) -> Option<String> {
        let name = self.text(field);
        (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
    }

    /// Where its process belongs. A program that a shell runs may be over before anybody looks: the kernel told.
    pub fn origin(&self) -> Origin {
        if self.point == Point::Program {
            targets::origin_of((self.values[0] >> 32) as u32, (self.values[1] >> 32) as u32)
        } else {
            targets::origin(self.pid)
        }
    }

    /// A process in the same container, which is still there if any is: of a program, the shell.
    pub fn neighbour(&self) -> u32 {
        if self.point == Point::Program { self.values[0] as u32 } else { self.pid }
    }

    fn new(event: &TextEvent<'_>, point: Point) -> Self {
        Self {
            point,
            time: event.time,
            pid: event.pid,
            tid: event.tid,
            uid: event.uid,
            comm: String::from_utf8_lossy(event.comm).into_owned(),
            values: event.values,
            texts: Default::default(),
            defect: "",
            after_loss: false,
        }
    }
}

/// Most threads that are remembered while they tell nothing.
const MOST_THREADS: usize = 1 << 16;

/// The calls that threads are telling of.
#[derive(Debug, Default)]
pub struct Calls {
    threads: FxHashMap<u32, Thread>,
    /// Records that are missing.
    pub lost: u64,
}

#[derive(Debug)]
struct Thread {
    pid: u32,
    /// Number of the last record.
    number: u64,
    call: Option<Call>,
    after_loss: bool,
}

impl Calls {
    /// Takes a record; answers the call that it completes.
    pub fn take(&mut self, event: &TextEvent<'_>) -> Option<Call> {
        let point = Point::from_number(event.point)?;
        if self.threads.len() >= MOST_THREADS && !self.threads.contains_key(&event.tid) {
            self.threads.retain(|_, thread| thread.call.is_some());
        }
        let thread = self.threads.entry(event.tid).or_insert_with(|| Thread {
            pid: event.pid,
            number: event.number.saturating_sub(1), // what came before the first that we see is not ours to miss
            call: None,
            after_loss: false,
        });
        if event.pid != thread.pid || event.number <= thread.number {
            *thread = Thread {
                pid: event.pid,
                number: event.number.saturating_sub(1),
                call: None,
                after_loss: false,
            };
        }
        let missing = event.number.saturating_sub(thread.number + 1);
        thread.number = event.number;
        if missing != 0 {
            self.lost += missing;
            thread.after_loss = true;
            thread.call = None;
        }
        let call = thread.call.get_or_insert_with(|| Call::new(event, point));
        if call.time != event.time {
            *call = Call::new(event, point); // the end of the one before was lost
            thread.after_loss = true;
        }
        if missing != 0 {
            call.defect = "its beginning may be lost";
        }
        if event.unreadable {
            call.defect = "not all of the text could be read";
        }
        if let Some(text) = call.texts.get_mut(event.part) {
            let room = LONGEST.saturating_sub(text.len());
            if room < event.text.len() {
                call.defect = "cut after 64 MiB";
            }
            text.extend_from_slice(&event.text[..event.text.len().min(room)]);
        }
        if !event.last {
            return None;
        }
        let mut call = thread.call.take()?;
        call.after_loss = std::mem::take(&mut thread.after_loss);
        Some(call)
    }

    /// A process ended.
    pub fn forget(&mut self, pid: u32) {
        self.threads.retain(|_, thread| thread.pid != pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, time: u64, part: usize, text: &[u8], last: bool) -> TextEvent<'_> {
        TextEvent {
            time,
            number,
            pid: 1,
            tid: 2,
            uid: 0,
            comm: b"bash",
            point: Point::BashLine as u32,
            last,
            unreadable: false,
            part,
            values: [7; MOST_FIELDS],
            text,
        }
    }

    #[test]
    fn pieces_become_texts() {
        let mut calls = Calls::default();
        assert!(calls.take(&record(1, 10, 1, b"ab", false)).is_none());
        assert!(calls.take(&record(2, 10, 1, b"c", false)).is_none());
        let mut call = calls.take(&record(3, 10, 2, b"d", true)).expect("a call");
        assert_eq!(
            (call.text(1), call.name(2), call.text(0)),
            (b"abc".to_vec(), Some("d".into()), Vec::new())
        );
        assert_eq!((call.defect, call.after_loss, calls.lost), ("", false, 0));
    }

    #[test]
    fn lost_records_are_counted_and_never_spliced() {
        let mut calls = Calls::default();
        assert!(calls.take(&record(1, 10, 1, b"ab", false)).is_none());
        let mut call = calls.take(&record(4, 20, 1, b"x", true)).expect("a call");
        assert_eq!((call.text(1), call.after_loss, calls.lost), (b"x".to_vec(), true, 2));
        assert_ne!(call.defect, "");
        let call = calls.take(&record(5, 30, 1, b"y", true)).expect("a call");
        assert_eq!((call.defect, call.after_loss), ("", false));
        // A new thread with the same number begins anew.
        assert!(calls.take(&record(1, 40, 1, b"z", true)).is_some());
        assert_eq!(calls.lost, 2);
    }
}
