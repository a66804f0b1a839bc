//! Programs that a test starts: they end with it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` answers something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2)); // between two looks
    }
}

/// A program with what it prints; killed when dropped.
pub struct Running {
    child: Child,
    name: String,
    stdout: Printed,
    stderr: Printed,
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// What a thread reads from a pipe, as it comes.
#[derive(Clone)]
struct Printed(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default)]
struct Text {
    bytes: Vec<u8>,
    over: bool,
}

impl Printed {
    fn read(pipe: Option<impl Read + Send + 'static>) -> Self {
        let printed = Self(Arc::default());
        let Some(pipe) = pipe else {
            printed.0.0.lock().expect("no panic").over = true;
            return printed;
        };
        let filled = printed.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let length = match pipe.fill_buf() {
                    Ok(bytes) if !bytes.is_empty() => {
                        filled.0.0.lock().expect("no panic").bytes.extend_from_slice(bytes);
                        bytes.len()
                    }
                    _ => break,
                };
                pipe.consume(length);
                filled.0.1.notify_all();
            }
            filled.0.0.lock().expect("no panic").over = true;
            filled.0.1.notify_all();
        });
        printed
    }

    /// Waits until `found` answers something for what was printed so far; `None` when the pipe was closed first.
    fn wait<T>(&self, what: &str, mut found: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        let mut text = self.0.0.lock().expect("no panic");
        loop {
            if let Some(value) = found(&text.bytes) {
                return Some(value);
            }
            if text.over {
                return None;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited in vain for {what}; printed: {}",
                String::from_utf8_lossy(&text.bytes)
            );
            text = self.0.1.wait_timeout(text, left).expect("no panic").0;
        }
    }

    fn all(&self) -> Vec<u8> {
        self.wait("the end of the output", |_| None::<()>);
        self.so_far()
    }

    fn so_far(&self) -> Vec<u8> {
        self.0.0.lock().expect("no panic").bytes.clone()
    }
}

impl Running {
    /// Starts a program; standard input is empty unless the command says else.
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_input(command.stdin(Stdio::null()))
    }

    /// Starts a program with the standard input that the command has.
    pub fn start_with_input(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::start_as_is(command)
    }

    /// Starts a program with the standard streams that the command has.
    pub fn start_as_is(command: &mut Command) -> Self {
        let die_with_the_test = || Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?);
        // SAFETY: one system call, which is safe between fork and exec.
        unsafe { command.pre_exec(die_with_the_test) };
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let (stdout, stderr) = (Printed::read(child.stdout.take()), Printed::read(child.stderr.take()));
        Self { child, name, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its end of standard input.
    pub fn input(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a pipe as standard input")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("send a signal");
    }

    /// Waits for a line on standard output that `found` accepts.
    pub fn line<T>(&self, what: &str, found: impl FnMut(&str) -> Option<T>) -> T {
        self.find_line(&self.stdout, what, found)
    }

    /// Waits for a line on standard error that `found` accepts.
    pub fn error_line<T>(&self, what: &str, found: impl FnMut(&str) -> Option<T>) -> T {
        self.find_line(&self.stderr, what, found)
    }

    fn find_line<T>(&self, from: &Printed, what: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let in_lines = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            text.split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .find_map(|line| found(line.trim_end()))
        };
        from.wait(what, in_lines).unwrap_or_else(|| {
            panic!(
                "{} ended before {what}; stdout: {} stderr: {}",
                self.name,
                String::from_utf8_lossy(&self.stdout.so_far()),
                String::from_utf8_lossy(&self.stderr.so_far()),
            )
        })
    }

    /// Whether it has printed something on standard output.
    pub fn has_printed(&self) -> bool {
        !self.stdout.so_far().is_empty()
    }

    /// What it printed on standard error until now.
    pub fn errors_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.so_far()).into_owned()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// Waits until it ends by itself.
    pub fn finish(mut self) -> Finished {
        drop(self.child.stdin.take());
        let status =
            wait_for(&format!("the end of {}; {}", self.name, self.errors_so_far()), || self.ended());
        Finished {
            status,
            stdout: self.stdout.all(),
            stderr: String::from_utf8_lossy(&self.stderr.all()).into_owned(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Fails the test unless the program succeeded.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{}: {}{}", self.status, self.text(), self.stderr);
        self
    }

    /// Exit code, as a shell tells it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Standard output.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a program to its end, which must be success; answers its standard output.
#[track_caller]
pub fn output_of(program: impl AsRef<OsStr>, arguments: &[&str]) -> String {
    Running::start(Command::new(program).args(arguments)).finish().succeeded().text()
}
