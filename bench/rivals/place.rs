//! Where a run happens: loopback addresses that nobody else on this machine uses, and a folder.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

use crate::testkit::address::Block;

/// A block of addresses, 127.N.0.0 to 127.N.255.255, and a folder that goes away with it.
pub(crate) struct Place {
    block: Block,
    folder: TempDir,
}

impl Place {
    /// Claims a block that is free: the tests can run beside this.
    pub(crate) fn claim() -> anyhow::Result<Self> {
        Ok(Self {
            block: Block::claim(),
            folder: tempfile::tempdir().context("no temporary folder")?,
        })
    }

    /// The address 127.N.`kind`.`index`: one per listening process, from 1.
    pub(crate) fn host(&self, kind: u8, index: usize) -> Ipv4Addr {
        self.block.host(kind, index - 1)
    }

    /// The same with a port.
    pub(crate) fn address(&self, kind: u8, index: usize, port: u16) -> SocketAddr {
        (self.host(kind, index), port).into()
    }

    /// Where clients of the library connect from.
    pub(crate) fn client(&self) -> IpAddr {
        self.host(9, 1).into()
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder.
    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder().join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
