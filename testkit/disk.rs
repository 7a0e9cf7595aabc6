//! A small disk in memory that can be filled.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for a young log and little more.
const SIZE: &str = "size=8m";

/// What fills it, in pieces of this many bytes.
const BALLAST_BYTES: usize = 64 << 10;

/// A mounted disk. It is unmounted when it is dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// None where it is not for this user to mount one.
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the test's folder is writable");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "gcache-test"]);
        let status = mount.arg(at).status().ok()?;
        status.success().then(|| Self(at.to_owned()))
    }

    /// Leaves no room at all.
    pub(crate) fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).expect("there is room for a name");
        let ballast = vec![1; BALLAST_BYTES];
        while file.write_all(&ballast).is_ok() {}
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("it was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process of the test may still have it open.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A disk whose writes can be made to hang. It thaws and is unmounted when it is dropped: before the
/// processes that use it are, or they could not be killed.
pub(crate) struct Freezer(PathBuf);

impl Freezer {
    /// None where it is not for this user to mount one, or where there are no loop devices.
    pub(crate) fn mount(at: &Path) -> Option<Self> {
        let image = at.with_extension("image");
        let file = std::fs::File::create(&image).expect("the test's folder is writable");
        file.set_len(64 << 20).expect("a file with a hole");
        std::fs::create_dir_all(at).expect("the test's folder is writable");
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            let status = Command::new(program).args(args).status();
            status.is_ok_and(|status| status.success())
        };
        let is_mounted = run("mkfs.ext4", &["-q".as_ref(), image.as_ref()])
            && run(
                "mount",
                &["-o".as_ref(), "loop".as_ref(), image.as_ref(), at.as_ref()],
            );
        is_mounted.then(|| Self(at.to_owned()))
    }

    /// From now on whoever writes waits.
    pub(crate) fn freeze(&self) {
        let status = Command::new("fsfreeze").arg("-f").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "it is mounted");
    }

    /// All writes go on.
    pub(crate) fn thaw(&self) {
        let status = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "it is frozen");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // It may have thawed already.
        let _thawed = Command::new("fsfreeze").arg("-u").arg(&self.0).status();
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
