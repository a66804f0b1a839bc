//! A program on a terminal, at which a test types.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::process::{Running, wait_for};

/// What the shells of these tests prompt with.
pub const PROMPT: &str = "<ready>";

/// The person's end.
pub struct Terminal {
    pub running: Running,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program that has a new terminal to itself.
    pub fn start(command: &mut Command) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&keyboard).and_then(|()| unlockpt(&keyboard)).expect("its other end");
        let name = ptsname(&keyboard, Vec::new()).expect("its name");
        let end = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end");
        let copy = || end.try_clone().expect("a descriptor");
        command.stdin(copy()).stdout(copy()).stderr(copy());
        let own = copy();
        // SAFETY: two system calls, which are safe between fork and exec.
        unsafe { command.pre_exec(move || take(&own)) };
        let running = Running::start_as_is(command);
        let keyboard = File::from(keyboard);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut from, shown) = (keyboard.try_clone().expect("a descriptor"), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                shown.lock().expect("no panic").extend_from_slice(&buffer[..length]);
            }
        });
        Self { running, keyboard, screen }
    }

    /// A shell with nothing but a prompt of ours, which is shown when this returns.
    pub fn shell(command: &mut Command) -> Self {
        let terminal = Self::start(command.env("PS1", PROMPT).env("HISTFILE", "/dev/null"));
        terminal.wait_for(PROMPT);
        terminal
    }

    /// Waits until the screen shows this.
    pub fn wait_for(&self, words: &str) {
        wait_for(words, || self.screen().contains(words).then_some(()));
    }

    /// Everything that was shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic")).into_owned()
    }

    /// Types, no faster than a terminal's queue takes it.
    pub fn type_in(&mut self, keys: impl AsRef<[u8]>) {
        for part in keys.as_ref().chunks(512) {
            self.keyboard.write_all(part).expect("type");
            if part.len() == 512 {
                thread::sleep(Duration::from_millis(5)); // the queue has no sign of being empty
            }
        }
    }
}

/// Makes the terminal the controlling one of a new session.
fn take(terminal: &OwnedFd) -> std::io::Result<()> {
    setsid()?;
    Ok(ioctl_tiocsctty(terminal)?)
}
