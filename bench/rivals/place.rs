//! Where a run happens: loopback addresses that nobody else on this machine uses, and a folder.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context;
use tempfile::TempDir;

/// The port by which the tests claim a block too, so that both can run beside each other.
const CLAIM_PORT: u16 = 8001;

/// The addresses 127.N.0.0 to 127.N.255.255, and a folder that goes away with it.
pub(crate) struct Place {
    number: u8,
    folder: TempDir,
    _claim: TcpListener,
}

impl Place {
    /// Claims a block that is free. The claim is a bound socket: it ends with the process.
    pub(crate) fn claim() -> anyhow::Result<Self> {
        let claim = |number| {
            let listener = TcpListener::bind((Ipv4Addr::new(127, number, 0, 1), CLAIM_PORT));
            Some((number, listener.ok()?))
        };
        let (number, claim) = (1..=255)
            .find_map(claim)
            .context("no free loopback block")?;
        Ok(Self {
            number,
            folder: tempfile::tempdir().context("no temporary folder")?,
            _claim: claim,
        })
    }

    /// The address 127.N.`kind`.`index`: one per listening process.
    pub(crate) fn host(&self, kind: u8, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, self.number, kind, index)
    }

    /// The same with a port.
    pub(crate) fn address(&self, kind: u8, index: u8, port: u16) -> SocketAddr {
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
