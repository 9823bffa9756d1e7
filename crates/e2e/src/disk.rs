//! A disk of its own that is soon full.
//!
//! Owns: the file system, what fills it. Deliberately does not: know what is on it. Needs root.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

const FILLER: &str = "filler";

pub struct Disk {
    at: TempDir,
}

impl Disk {
    /// With room for so many megabytes.
    pub fn new(megabytes: u32) -> Self {
        let at = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={megabytes}m,mode=755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "guildhall-test"]).arg(at.path());
        let mounted = command.status();
        assert!(mounted.is_ok_and(|status| status.success()), "`mount` failed (it needs root)");
        Self { at }
    }

    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// Until nothing more goes in, neither as a new file nor behind the files that are open elsewhere.
    pub fn fill(&self, open: &[&Path]) {
        let mut filler = File::create(self.filler()).expect("it can be made");
        let block = [b'.'; 4_096];
        while filler.write_all(&block).is_ok() {}
        for path in open {
            let mut file = OpenOptions::new().append(true).open(path).expect("it is there");
            while file.write_all(b"\n").is_ok() {}
        }
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.at.path().join(FILLER)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, for what a test that failed has left running there.
        let _ = Command::new("umount").arg("--lazy").arg(self.at.path()).status();
    }
}
