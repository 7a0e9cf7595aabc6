//! Sockets: listeners are bound early, by the caller of a role, with an error that names the address;
//! incoming connections are bounded, outgoing ones leave from the process's own address.

mod accept;
mod connect;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

pub use accept::{Accepted, incoming};
pub use connect::{chain, open};

/// Connections the kernel holds for a listener that accepts too slowly, unless a role says otherwise.
/// The kernel cuts it to `net.core.somaxconn`.
pub const BACKLOG: u32 = 1024;

/// A port could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {reason}")]
pub struct BindError {
    /// What was asked for.
    pub address: SocketAddr,
    /// What the port is for, as an operator calls it.
    pub purpose: &'static str,
    reason: String,
}

/// Listens on `address` with `backlog`; `purpose` names the port in the error.
///
/// # Errors
/// [`BindError`], which says which port is taken and by which flag another is chosen.
pub fn listen(
    address: SocketAddr,
    purpose: &'static str,
    backlog: u32,
) -> Result<TcpListener, BindError> {
    let fail = |error: io::Error| BindError {
        address,
        purpose,
        reason: explain(&error),
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )
    .map_err(fail)?;
    // Without it a restart would wait a minute for the last run's connections to be forgotten.
    socket.set_reuse_address(true).map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    socket.bind(&address.into()).map_err(fail)?;
    socket
        .listen(i32::try_from(backlog).unwrap_or(i32::MAX))
        .map_err(fail)?;
    TcpListener::from_std(socket.into()).map_err(fail)
}

/// Raises the soft limit of open files to the hard one: every connection is an open file, and the
/// soft limit is often 1024 for the sake of programs that use `select`.
///
/// Failing is no reason not to start: then the limit is what it was.
pub fn raise_open_files() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files raised"),
        Err(error) => tracing::warn!(%error, "open files not raised"),
    }
}

/// Half to all of `pause`, drawn evenly, so that processes which lost the same peer do not return in step.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use by another process; stop that one or choose another port".into()
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address; choose another --host".into()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; ports below 1024 need privileges".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let first = listen(([127, 0, 0, 1], 0).into(), "HTTP", BACKLOG).unwrap();
        let taken = first.local_addr().unwrap();
        let error = listen(taken, "HTTP", BACKLOG).unwrap_err().to_string();
        assert!(error.contains(&taken.to_string()), "{error}");
        assert!(error.contains("in use"), "{error}");
    }
}
