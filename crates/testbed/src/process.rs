//! Processes that do not outlive this one.

use std::{
    ffi::OsString,
    fs::File,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{scratch, wait};

/// What to start, and how to end it.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    /// User and group to run as, if not ours.
    pub(crate) user: Option<(u32, u32)>,
    /// Where both outputs go.
    pub(crate) log: PathBuf,
    pub(crate) ending: Ending,
}

/// The signal that ends a server within moments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// For servers that have nothing to clean up.
    Kill,
    /// For PostgreSQL, whose main process must end its children.
    Quit,
}

impl Ending {
    fn signal(self) -> Signal {
        match self {
            Ending::Kill => Signal::KILL,
            Ending::Quit => Signal::QUIT,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Ending::Kill => "KILL",
            Ending::Quit => "QUIT",
        }
    }
}

/// A running server. Dropping it ends the server.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ending: Ending,
}

impl Process {
    pub(crate) fn start(program: &Program) -> Process {
        let mut child = command(program)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.path.display()));
        scratch::tell_guard(&format!("+ {} {}", child.id(), program.ending.name()))
            .expect("nobody killed the guard of the testbed's servers: run the tests again");
        let mut go = child.stdin.take().expect("standard input is a pipe");
        // A process that is already gone is found by `exited`.
        let _ = writeln!(go, "go");
        Process { child, ending: program.ending }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it did.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            kill_process(Pid::from_child(&self.child), signal).expect("an unreaped child takes signals");
        }
    }

    /// Ends the process with `signal` and waits until it is gone.
    pub(crate) fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        // A stopped process takes no other signal.
        self.signal(Signal::CONT);
        if wait::until(Duration::from_secs(10), || self.exited()).is_none() {
            self.signal(Signal::KILL);
            wait::until(Duration::from_secs(10), || self.exited());
        }
        // Without a guard there is nobody who needs to know.
        let _ = scratch::tell_guard(&format!("- {}", self.child.id()));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(self.ending.signal());
    }
}

/// The program behind a shell that waits for a word before it becomes the program: by then the guard
/// knows its process id, and without the word (this process was killed in between) it just ends.
fn command(program: &Program) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read -r go && exec \"$@\" </dev/null", "sh"]);
    command.arg(&program.path).args(&program.arguments);
    let (stdout, stderr) = outputs(&program.log);
    command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
    if let Some((user, group)) = program.user {
        command.uid(user).gid(group);
    }
    // Its own group: Ctrl-C at the terminal is for us, who then end the servers in order.
    command.current_dir("/").process_group(0);
    command
}

fn outputs(log: &Path) -> (File, File) {
    let open = || File::options().create(true).append(true).open(log);
    match (open(), open()) {
        (Ok(stdout), Ok(stderr)) => (stdout, stderr),
        (Err(error), _) | (_, Err(error)) => panic!("cannot write {}: {error}", log.display()),
    }
}
