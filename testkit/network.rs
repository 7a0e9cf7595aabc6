//! A network of one test: a host of its own for every process, and links that can be cut.
//!
//! The test's thread moves into a network namespace of its own, the hub, through which everything goes;
//! each host is a namespace with a line to it. A link is cut in one direction at a time, by a rule of the
//! hub that drops what one host sends to another without a word, as a broken cable or a firewall does. The
//! hub itself, where the test and its PostgreSQL are, reaches everybody always.
//!
//! A namespace lasts as long as a process or a thread in it does: nothing is left when the test ends,
//! however it ends.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use parking_lot::Mutex;

/// The hub's address, under which hosts reach what the test itself runs.
pub(crate) const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// Holds a namespace until the end of its input, which is at the latest the end of the test.
const HOLD: &str = "echo; exec cat";

/// Hosts and the lines between them.
pub(crate) struct Network {
    hosts: Vec<Host>,
    /// What is cut, and in which direction.
    cuts: Mutex<Vec<(Ipv4Addr, Ipv4Addr)>>,
}

struct Host {
    address: Ipv4Addr,
    holder: Child,
    /// Its end is the holder's.
    _hold: ChildStdin,
}

impl Network {
    /// A network with a host for each of this many nodes and frontends. It becomes the calling thread's,
    /// for the rest of the thread's life, and that of what the thread starts, threads included.
    pub(crate) fn new(nodes: usize, frontends: usize) -> Self {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            panic!("this test cuts networks, which needs network namespaces, so root: {error}");
        }
        // Packets are not judged by the way back: that may be cut.
        sh(
            "ip link set lo up && ip addr add \"$1/32\" dev lo && cd /proc/sys/net/ipv4 && \
            echo 1 >ip_forward && echo 0 >conf/all/rp_filter && echo 0 >conf/default/rp_filter",
            &[&HUB],
        );
        let nodes = (0..nodes).map(node);
        let all = nodes.chain((0..frontends).map(frontend));
        Self {
            hosts: all.map(Host::start).collect(),
            cuts: Mutex::default(),
        }
    }

    /// The address of the node with this index.
    pub(crate) fn node(&self, index: usize) -> Ipv4Addr {
        node(index)
    }

    /// The address of the frontend with this index.
    pub(crate) fn frontend(&self, index: usize) -> Ipv4Addr {
        frontend(index)
    }

    /// A command line whose arguments are run on this host.
    pub(crate) fn at(&self, host: Ipv4Addr) -> Command {
        let host = self.hosts.iter().find(|known| known.address == host);
        host.expect("a host of this network").command()
    }

    /// From now on nothing that one of `from` sends to one of `to` arrives.
    pub(crate) fn cut_one_way(&self, from: &[Ipv4Addr], to: &[Ipv4Addr]) {
        for from in from {
            for to in to {
                sh("ip rule add from \"$1\" to \"$2\" blackhole", &[from, to]);
                self.cuts.lock().push((*from, *to));
            }
        }
    }

    /// From now on nothing gets from one side to the other, nor back.
    pub(crate) fn cut(&self, one: &[Ipv4Addr], other: &[Ipv4Addr]) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Undoes all cuts.
    pub(crate) fn heal(&self) {
        for (from, to) in self.cuts.lock().drain(..) {
            sh("ip rule del from \"$1\" to \"$2\" blackhole", &[&from, &to]);
        }
    }
}

fn node(index: usize) -> Ipv4Addr {
    address(1, index)
}

fn frontend(index: usize) -> Ipv4Addr {
    address(2, index)
}

fn address(kind: u8, index: usize) -> Ipv4Addr {
    let last = u8::try_from(index + 1).expect("few processes");
    Ipv4Addr::new(10, 77, kind, last)
}

impl Host {
    fn start(address: Ipv4Addr) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", HOLD])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let hold = holder.stdin.take().expect("it is piped");
        // The line comes from inside: the namespace is there.
        let mut line = String::new();
        let mut stdout = BufReader::new(holder.stdout.take().expect("it is piped"));
        let bytes = stdout.read_line(&mut line).expect("a pipe can be read");
        assert_eq!(bytes, 1, "no namespace for {address}");
        let [_, _, kind, last] = address.octets();
        let name = format!("h{kind}-{last}");
        let pid = holder.id();
        sh(
            "ip link add name \"$1\" type veth peer name eth0 netns \"$2\" && \
            ip link set \"$1\" up && ip route add \"$3\" dev \"$1\" src \"$4\"",
            &[&name, &pid, &address, &HUB],
        );
        let host = Self {
            address,
            holder,
            _hold: hold,
        };
        let mut inside = host.command();
        inside.args(["sh", "-c"]);
        run(
            inside,
            "ip link set lo up && ip link set eth0 up && ip addr add \"$1/32\" dev eth0 && \
            ip route add \"$2\" dev eth0 && ip route add default via \"$2\"",
            &[&address, &HUB],
        );
        host
    }

    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Whatever still runs there keeps the namespace until it ends.
        let _ended = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

/// Runs a script in the calling thread's namespace; it must succeed.
fn sh(script: &str, args: &[&dyn ToString]) {
    let mut command = Command::new("sh");
    command.arg("-c");
    run(command, script, args);
}

fn run(mut command: Command, script: &str, args: &[&dyn ToString]) {
    command.args([script, "sh"]);
    command.args(args.iter().map(|arg| arg.to_string()));
    let output = command.output().expect("a shell is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{script}: {said} (iproute2 is needed)"
    );
}
