//! A child process that prints one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::server::{RELAY_REPORTED, SERVER_TOLD};

/// The last lines of a process's output, for the message of a failing test.
const TAIL_LINES: usize = 60;

/// A process that does not end when asked is killed after this.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Ends its process when dropped.
pub struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    pub lines: Lines,
}

/// What a process printed, in order.
pub struct Lines {
    name: String,
    receiver: Receiver<Value>,
    stderr: Arc<Errors>,
    seen: Vec<Value>,
}

/// The error output, as it comes.
#[derive(Default)]
struct Errors {
    lines: Mutex<Vec<String>>,
    /// There is more.
    news: Condvar,
}

impl Errors {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().expect("no holder of this lock panics")
    }
}

/// Which part of the error output was looked at, for [`Lines::until_said`].
#[derive(Debug, Clone, Copy)]
pub struct SaidSoFar(usize);

impl SaidSoFar {
    pub const NOTHING: Self = Self(0);
}

impl Running {
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|e| panic!("{name} does not start: {e} ({command:?})"));
        let (sender, receiver) = channel();
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Ok(value) = serde_json::from_str::<Value>(&line)
                    && sender.send(value).is_err()
                {
                    break;
                }
            }
        });
        let stderr = Arc::new(Errors::default());
        let err = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let tail = Arc::clone(&stderr);
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                tail.lines().push(line);
                tail.news.notify_all();
            }
        });
        let stdin = child.stdin.take();
        Self {
            name: name.to_owned(),
            child,
            stdin,
            lines: Lines { name: name.to_owned(), receiver, stderr, seen: Vec::new() },
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes one JSON object as a line.
    pub fn send(&mut self, value: &Value) {
        let stdin = self.stdin.as_mut().expect("stdin is open until the end");
        let written = writeln!(stdin, "{value}").and_then(|()| stdin.flush());
        assert!(written.is_ok(), "{} no longer reads: {written:?}\n{}", self.name, self.lines.story());
    }

    /// Waits for the process to end by itself.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        // A process's end has no event in std that can be awaited with a deadline; its output's end is that event.
        let deadline = Instant::now() + within;
        while self.lines.next_before(deadline).is_some() {}
        assert!(
            Instant::now() < deadline,
            "{} did not end within {within:?}\n{}",
            self.name,
            self.lines.story()
        );
        self.child.wait().expect("the child is ours")
    }

    /// Sends a signal by name, such as `TERM` or `KILL`.
    pub fn signal(&self, signal: &str) {
        signal_pid(self.pid(), signal);
    }
}

/// Sends a signal to any process of ours.
pub fn signal_pid(pid: u32, signal: &str) {
    let status = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(status.is_ok_and(|s| s.success()), "kill -{signal} {pid} failed");
}

/// What a server says every second or so, and only so that it can be awaited.
fn is_beat(line: &str) -> bool {
    [RELAY_REPORTED, SERVER_TOLD].iter().any(|beat| line.contains(beat))
}

impl Drop for Running {
    fn drop(&mut self) {
        // Asked first, so that it ends what it has itself started. Already ended is fine.
        if matches!(self.child.try_wait(), Ok(None)) {
            signal_pid(self.pid(), "TERM");
            let deadline = Instant::now() + END_WITHIN;
            while self.lines.next_before(deadline).is_some() {}
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The test that fails knows of one process what it said, and another may be to blame.
        if std::thread::panicking() {
            eprintln!("{}", self.lines.story());
        }
    }
}

impl Lines {
    fn next_before(&mut self, deadline: Instant) -> Option<Value> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.receiver.recv_timeout(left) {
            Ok(value) => {
                self.seen.push(value.clone());
                Some(value)
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => None,
        }
    }

    /// The next line that satisfies the condition; lines before it are passed over.
    pub fn until(&mut self, what: &str, within: Duration, wanted: impl FnMut(&Value) -> bool) -> Value {
        let found = self.until_or_end(what, within, wanted);
        found.unwrap_or_else(|| {
            panic!("{}: it ended while we waited {within:?} for {what}\n{}", self.name, self.story())
        })
    }

    /// The same; none where the output ends before it.
    pub fn until_or_end(
        &mut self,
        what: &str,
        within: Duration,
        mut wanted: impl FnMut(&Value) -> bool,
    ) -> Option<Value> {
        let deadline = Instant::now() + within;
        while let Some(value) = self.next_before(deadline) {
            if wanted(&value) {
                return Some(value);
            }
        }
        let is_over = Instant::now() < deadline;
        assert!(is_over, "{}: we waited {within:?} for {what}\n{}", self.name, self.story());
        None
    }

    /// The next line with this `event`.
    pub fn event(&mut self, event: &str, within: Duration) -> Value {
        self.until(event, within, |v| v["event"] == event)
    }

    /// Everything printed so far and not yet read, without waiting.
    pub fn drain(&mut self) -> Vec<Value> {
        let now = Instant::now();
        std::iter::from_fn(|| self.next_before(now)).collect()
    }

    /// Everything printed so far, read or not.
    pub fn all(&mut self) -> &[Value] {
        self.drain();
        &self.seen
    }

    /// Does the error output contain this text by now?
    pub fn stderr_contains(&self, text: &str) -> bool {
        self.stderr.lines().iter().any(|l| l.contains(text))
    }

    /// To be taken before a look at something that a line of the error output announces, so that none is missed.
    pub fn said_so_far(&self) -> SaidSoFar {
        SaidSoFar(self.stderr.lines().len())
    }

    /// Waits until the error output has a line with this text that was not there by `so_far`; false when there is none in time.
    pub fn until_said(&self, so_far: SaidSoFar, text: &str, deadline: Instant) -> bool {
        let is_missing = |lines: &mut Vec<String>| !lines[so_far.0..].iter().any(|line| line.contains(text));
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = self.stderr.news.wait_timeout_while(self.stderr.lines(), left, is_missing);
        !waited.expect("no holder of this lock panics").1.timed_out()
    }

    /// What the process said, for a failing test's message.
    pub fn story(&self) -> String {
        let errors = self.stderr.lines();
        let stderr: Vec<&str> = errors.iter().map(String::as_str).filter(|line| !is_beat(line)).collect();
        let from = stderr.len().saturating_sub(TAIL_LINES);
        let lines: Vec<String> =
            self.seen.iter().rev().take(TAIL_LINES).rev().map(Value::to_string).collect();
        format!(
            "--- {} printed:\n{}\n--- and on stderr:\n{}",
            self.name,
            lines.join("\n"),
            stderr[from..].join("\n")
        )
    }
}
