//! The processes of one cluster: nodes and frontends that are given seeds and nothing else, started and stopped one
//! by one. What they are asked is in [`asked`](super::asked).

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use super::address::{ADMIN, GRPC, HTTP, RAFT};
use super::place::Place;
use super::process::{Bond, Ended, GCACHE, Process, Start};

/// Runs its arguments with the file `hosts` of the working directory in place of the machine's: that is
/// DNS without a server, for this process alone.
const WITH_HOSTS: &str = "mount --bind hosts /etc/hosts && exec \"$@\"";

/// Node and frontend processes, and how those are started that are started from now on. All that run are ended when
/// it is dropped, before their addresses are given back.
///
/// Node `n1` has the index 0, and so has frontend `f1`.
pub(crate) struct Processes {
    /// By index; none that is not started, or was taken.
    pub(crate) nodes: Vec<Option<Process>>,
    pub(crate) frontends: Vec<Process>,
    /// Where each node is.
    pub(crate) hosts: Vec<Ipv4Addr>,
    /// The data directory of each node; all share one unless told otherwise.
    pub(crate) data: Vec<PathBuf>,
    /// Where nodes load from.
    pub(crate) origin: String,
    /// What is set at every process, `section.key=value`.
    pub(crate) set: Vec<String>,
    /// What is set at nodes only.
    pub(crate) set_nodes: Vec<String>,
    /// What nodes find in their environment.
    pub(crate) env: Vec<(&'static str, &'static str)>,
    /// Who is told to processes as seeds.
    pub(crate) seeds: Seeds,
    /// Seeds beside these.
    pub(crate) more_seeds: Vec<Ipv4Addr>,
    /// Zones that nodes and frontends are dealt to in turn, if not all are in the one that is usual.
    pub(crate) zones: Option<usize>,
    /// What processes do not outlive.
    pub(crate) bond: Bond,
    /// What is started: the present executable, or that of another release.
    pub(crate) executable: PathBuf,
    folder: Folder,
    pub(crate) place: Place,
}

/// Who is told to processes as seeds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seeds {
    /// All nodes.
    All,
    /// So many of them.
    First(usize),
    /// This name, which has the addresses that [`Processes::resolve`] says.
    Name(&'static str),
}

/// Where the files of processes are.
enum Folder {
    Own(TempDir),
    Given(PathBuf),
}

/// Where operators' commands go, and where they run: for who gives some whatever else goes on meanwhile.
#[derive(Clone)]
pub(crate) struct Operator {
    seeds: String,
    folder: PathBuf,
}

impl Operator {
    /// Runs a command, and blocks until its end.
    pub(crate) fn run(&self, args: &[&str]) -> std::io::Result<Output> {
        Command::new(GCACHE)
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("GCACHE_SEEDS", &self.seeds)
            .output()
    }
}

impl Processes {
    /// The files for this many nodes, none of which is started, in a folder that goes away with them.
    pub(crate) fn new(place: Place, nodes: usize) -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for files");
        Self::over(place, nodes, Folder::Own(folder))
    }

    /// The same, in a folder that stays.
    pub(crate) fn in_folder(folder: &Path, place: Place, nodes: usize) -> Self {
        Self::over(place, nodes, Folder::Given(folder.to_owned()))
    }

    fn over(place: Place, nodes: usize, folder: Folder) -> Self {
        let mut processes = Self {
            nodes: Vec::new(),
            frontends: Vec::new(),
            hosts: Vec::new(),
            data: Vec::new(),
            origin: "memory:rows.jsonl".into(),
            set: Vec::new(),
            set_nodes: Vec::new(),
            env: Vec::new(),
            seeds: Seeds::All,
            more_seeds: Vec::new(),
            zones: None,
            bond: Bond::Group,
            executable: GCACHE.into(),
            folder,
            place,
        };
        for _ in 0..nodes {
            processes.another();
        }
        processes
    }

    /// Makes room for one more node; its index.
    pub(crate) fn another(&mut self) -> usize {
        let node = self.nodes.len();
        self.nodes.push(None);
        self.hosts.push(self.place.node(node));
        self.data.push(self.folder().join("data"));
        node
    }

    /// Starts a node.
    pub(crate) fn run(&mut self, node: usize) {
        self.run_with(node, &[]);
    }

    /// Starts a node with more arguments.
    pub(crate) fn run_with(&mut self, node: usize, more: &[&str]) {
        self.nodes[node] = Some(self.spawn(node, more));
    }

    /// Starts a node on this data directory, with more arguments. Its next start is where it was.
    pub(crate) fn run_in(&mut self, data: &str, node: usize, more: &[&str]) {
        let data = self.folder().join(data);
        let usual = std::mem::replace(&mut self.data[node], data);
        self.run_with(node, more);
        self.data[node] = usual;
    }

    /// A process of a node beside the one that runs, with the same directory and at another address.
    pub(crate) fn beside(&mut self, node: usize) -> Process {
        let there = self.place.moved(node);
        let usual = std::mem::replace(&mut self.hosts[node], there);
        let process = self.spawn(node, &[]);
        self.hosts[node] = usual;
        process
    }

    fn spawn(&self, node: usize, more: &[&str]) -> Process {
        let (name, at) = (name(node), self.hosts[node]);
        let (host, data) = (at.to_string(), self.data[node].display().to_string());
        let mut args = vec!["node", "--id", &name, "--host", &host, "--data-dir", &data];
        args.extend(["--origin", &self.origin]);
        args.extend(settings(&self.set_nodes).chain(more.iter().copied()));
        self.gcache(&name, (at, node), &self.env, &args)
    }

    /// Starts a process in the place of a node: with these arguments and what all processes are told.
    pub(crate) fn run_as(&mut self, node: usize, env: &[(&str, &str)], args: &[&str]) {
        let process = self.gcache(&name(node), (self.hosts[node], node), env, args);
        self.nodes[node] = Some(process);
    }

    /// Starts one more frontend.
    pub(crate) fn front(&mut self) {
        let index = self.frontends.len();
        let (name, at) = (format!("f{}", index + 1), self.place.frontend(index));
        let args = ["frontend", "--host", &at.to_string()];
        let process = self.gcache(&name, (at, index), &[], &args);
        self.frontends.push(process);
    }

    /// Starts a process of the cluster, with what all of them are told.
    fn gcache(
        &self,
        name: &str,
        (host, index): (Ipv4Addr, usize),
        env: &[(&str, &str)],
        args: &[&str],
    ) -> Process {
        let (seeds, zone) = (self.seeds(), self.zone(index));
        let mut command = self.bond.command(&self.executable);
        command.args(args).args(["--seeds", &seeds]);
        command.args(zone.iter().flat_map(|zone| ["--zone", zone]));
        command.args(settings(&self.set));
        let command = self.place.command(host, self.with_names(command));
        let start = Start::new(name, self.folder()).env(env).bond(self.bond);
        start.spawn(command)
    }

    fn zone(&self, index: usize) -> Option<String> {
        let zones = self.zones?;
        Some(format!("zone-{}", index % zones))
    }

    /// The command line, where the name of the seeds is known if they have one.
    fn with_names(&self, command: Command) -> Command {
        if !matches!(self.seeds, Seeds::Name(_)) {
            return command;
        }
        let mut named = Command::new("unshare");
        let own = std::fs::metadata("/proc/self").expect("Linux tells of a process");
        if own.uid() != 0 {
            named.arg("--map-root-user");
        }
        named.args(["--mount", "sh", "-c", WITH_HOSTS, "sh"]);
        named.arg(command.get_program()).args(command.get_args());
        named
    }

    /// From now on the name of the seeds has the addresses of these nodes, for every process.
    pub(crate) fn resolve(&self, nodes: &[usize]) {
        let Seeds::Name(name) = self.seeds else {
            panic!("seeds have no name here");
        };
        let line = |&node: &usize| format!("{} {name}\n", self.hosts[node]);
        // Written in place: the processes see the file that was there when they were started.
        self.write("hosts", &nodes.iter().map(line).collect::<String>());
    }

    /// The seeds, as `--seeds` has them.
    pub(crate) fn seeds(&self) -> String {
        let most = match self.seeds {
            Seeds::All => self.hosts.len(),
            Seeds::First(most) => most,
            Seeds::Name(name) => return name.to_owned(),
        };
        let all = self.hosts.iter().take(most).chain(&self.more_seeds);
        all.map(Ipv4Addr::to_string).collect::<Vec<_>>().join(",")
    }

    /// Kills nodes, all of them before any is waited for.
    pub(crate) fn kill(&mut self, nodes: &[usize]) {
        for &node in nodes {
            self.process(node).signal(nix::sys::signal::Signal::SIGKILL);
        }
        for &node in nodes {
            self.nodes[node] = None;
        }
    }

    /// The process of a node that runs.
    pub(crate) fn process(&self, node: usize) -> &Process {
        self.nodes[node].as_ref().expect("the node was started")
    }

    /// The indices of the nodes that were started and not taken.
    pub(crate) fn running(&self) -> Vec<usize> {
        let all = 0..self.nodes.len();
        all.filter(|&node| self.nodes[node].is_some()).collect()
    }

    /// Writes a file where processes and commands run.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder().join(name), text).expect("the folder is writable");
    }

    /// The folder with the files and outputs of the processes.
    pub(crate) fn folder(&self) -> &Path {
        match &self.folder {
            Folder::Own(folder) => folder.path(),
            Folder::Given(folder) => folder,
        }
    }

    /// HTTP of a frontend.
    pub(crate) fn http(&self, frontend: usize) -> SocketAddr {
        (self.place.frontend(frontend), HTTP).into()
    }

    /// HTTP of all frontends.
    pub(crate) fn all_http(&self) -> Vec<SocketAddr> {
        (0..self.frontends.len())
            .map(|index| self.http(index))
            .collect()
    }

    /// Metrics and readiness of a frontend.
    pub(crate) fn frontend_admin(&self, frontend: usize) -> SocketAddr {
        (self.place.frontend(frontend), ADMIN).into()
    }

    /// Metrics and readiness of a node.
    pub(crate) fn node_admin(&self, node: usize) -> SocketAddr {
        (self.hosts[node], ADMIN).into()
    }

    /// The cache and control services of a node.
    pub(crate) fn grpc(&self, node: usize) -> SocketAddr {
        (self.hosts[node], GRPC).into()
    }

    /// Where a node takes raft's messages.
    pub(crate) fn raft(&self, node: usize) -> SocketAddr {
        (self.hosts[node], RAFT).into()
    }

    /// Who runs operators' commands against all seeds. Not where those have a name.
    pub(crate) fn operator(&self) -> Operator {
        Operator {
            seeds: self.seeds(),
            folder: self.folder().to_owned(),
        }
    }

    /// Runs an operator's command against all seeds.
    pub(crate) async fn operate(&self, args: &[&str]) -> Ended {
        self.operate_at(&self.seeds(), args).await
    }

    /// Runs an operator's command against these seeds.
    pub(crate) async fn operate_at(&self, seeds: &str, args: &[&str]) -> Ended {
        let mut command = Command::new(GCACHE);
        command.args(args);
        let env = [("GCACHE_SEEDS", seeds)];
        let start = Start::new("command", self.folder()).env(&env);
        start.spawn(self.with_names(command)).ended().await
    }
}

/// What the node with this index is called.
pub(crate) fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

fn settings(set: &[String]) -> impl Iterator<Item = &str> {
    set.iter().flat_map(|set| ["--set", set.as_str()])
}
