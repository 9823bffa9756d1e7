//! What a clean machine lacks. Debian packages come by apt when we may install them; otherwise the exact command is printed.

use std::process::{Command, Stdio};

use crate::stage::{Failure, run};

/// To build: a C toolchain, CMake (libopus), ALSA's headers (microphone and speakers), a compiler of protocol buffers and its own definitions (etcd's).
const BUILD: &[&str] =
    &["gcc", "g++", "make", "cmake", "pkg-config", "libasound2-dev", "protobuf-compiler", "libprotobuf-dev"];

/// To test: a voice that speaks, a second database, a registry, networks and clocks of our own, browsers with a sound server, and what the real client libraries need.
const TEST: &[&str] = &[
    "espeak-ng",
    "postgresql",
    "etcd-server",
    "libopus0",
    "libopus-dev",
    "python3-venv",
    "iproute2",
    "nftables",
    "faketime",
    "strace",
    "chromium",
    "firefox-esr",
    "pulseaudio",
];

pub fn build_packages() -> Result<(), Failure> {
    packages(BUILD)
}

pub fn test_packages() -> Result<(), Failure> {
    packages(TEST)
}

/// To count instructions.
pub fn count_packages() -> Result<(), Failure> {
    packages(&["valgrind"])
}

/// The real client libraries that the end-to-end tests drive.
pub fn clients() -> Result<(), Failure> {
    let mut command = Command::new("bash");
    command.arg("e2e/clients/setup.sh");
    run("client libraries", command)
}

/// What npm's lock file in the folder `name` names; nothing is done where it is there already.
pub fn npm_packages(name: &str) -> Result<(), Failure> {
    let folder = crate::root().join(name);
    let unreadable = |error| Failure(format!("{}: {error}", folder.display()));
    let wanted = std::fs::read(folder.join("package-lock.json")).map_err(unreadable)?;
    let mark = folder.join("node_modules/.made-from");
    if std::fs::read(&mark).is_ok_and(|made_from| made_from == wanted) {
        return Ok(());
    }
    if !has("npm") {
        return Err(Failure(
            "npm is missing: install Node.js 20.19 or newer (https://nodejs.org), then try again".to_owned(),
        ));
    }
    run("npm packages", npm(name, &["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    std::fs::write(&mark, wanted).map_err(unreadable)
}

/// npm in a folder of the repository.
pub fn npm(folder: &str, args: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(["--prefix", folder]).args(args);
    command
}

/// Is there such a program on the PATH?
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn packages(wanted: &[&str]) -> Result<(), Failure> {
    if !has("dpkg-query") {
        // Another system: the names differ, so the build itself will say what it misses.
        eprintln!(
            "== packages: this is no Debian-like system; needed are what Debian calls {}",
            wanted.join(" ")
        );
        return Ok(());
    }
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("sudo apt-get update && sudo apt-get install --yes {}", missing.join(" "));
    let Some(prefix) = privileges() else {
        return Err(Failure(format!(
            "packages are missing and may not be installed from here; run this, then try again:\n  {by_hand}"
        )));
    };
    run("package lists", apt(prefix, &["update", "--quiet=2"]))?;
    let install =
        [&["install", "--yes", "--quiet=2", "--no-install-recommends"], missing.as_slice()].concat();
    run("packages", apt(prefix, &install))
}

fn installed(name: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", name])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|out| out.stdout == b"installed")
}

/// How to become root: not at all when we are, else `sudo` where it asks nothing.
fn privileges() -> Option<&'static [&'static str]> {
    let quiet = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    };
    let root = Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    if root {
        Some(&[])
    } else if quiet(Command::new("sudo").args(["--non-interactive", "true"])) {
        Some(&["sudo", "--non-interactive"])
    } else {
        None
    }
}

fn apt(prefix: &[&str], args: &[&str]) -> Command {
    let words = [prefix, &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], args].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command
}
