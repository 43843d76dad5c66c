//! The cable of a network namespace, and what can be done to it.

use std::process::Command;

use tornet::process;

use crate::Failure;

/// Where the relays are, as seen from everywhere.
pub const WORLD: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 77, 0, 1);
/// A link-layer address that nobody has: what is sent to it vanishes, and nobody is told.
const NOBODY: &str = "02:00:00:00:00:99";
/// Networks that a cable can lead into.
const NETWORKS: u8 = 16;

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the namespace into the world.
    Out,
    /// From the world into the namespace.
    In,
}

/// A pair of interfaces: `eth0` in the namespace, and one that is named after it in the world.
pub struct Cable {
    name: String,
    number: u8,
    /// Which of its networks it leads into.
    network: u8,
    /// The process that holds the namespace.
    holder: u32,
}

impl Cable {
    /// Connects a namespace with the world.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn lay(name: &str, number: u8, holder: u32) -> Result<Self, Failure> {
        let cable = Self { name: name.to_owned(), number, network: 0, holder };
        let mut script =
            format!("ip link add {name} type veth peer name eth0 netns {holder}\nip link set {name} up\n");
        for network in 0..NETWORKS {
            let [world, _] = cable.ends(network);
            script += &format!("ip addr add {world}/24 dev {name}\n");
        }
        run(&script)?;
        cable.run_inside("ip link set lo up\nip link set eth0 up\n")?;
        cable.run_inside(&cable.joining())?;
        Ok(cable)
    }

    /// Pulls it out: there is no carrier, and what is sent is lost.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn pull(&self) -> Result<(), Failure> {
        run(&format!("ip link set {} down", self.name))
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn plug(&self) -> Result<(), Failure> {
        run(&format!("ip link set {} up", self.name))
    }

    /// Has another address at once, in another network, as after a change of Wi-Fi; the old one is gone
    /// and nobody says so to who still sends to it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn move_on(&mut self) -> Result<(), Failure> {
        let [_, old] = self.ends(self.network);
        self.network = (self.network + 1) % NETWORKS;
        self.run_inside(&format!("ip addr del {old}/24 dev eth0\n{}", self.joining()))
    }

    /// Swallows what goes one way; neither side is told.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn swallow(&self, direction: Direction) -> Result<(), Failure> {
        let [world, inside] = self.ends(self.network);
        let lead_astray =
            |to, dev: &str| format!("ip neigh replace {to} lladdr {NOBODY} nud permanent dev {dev}");
        match direction {
            Direction::Out => self.run_inside(&lead_astray(world, "eth0")),
            Direction::In => run(&lead_astray(inside, &self.name)),
        }
    }

    /// Ends what [`swallow`](Self::swallow) began.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn let_through(&self, direction: Direction) -> Result<(), Failure> {
        let [world, inside] = self.ends(self.network);
        match direction {
            Direction::Out => self.run_inside(&format!("ip neigh del {world} dev eth0")),
            Direction::In => run(&format!("ip neigh del {inside} dev {}", self.name)),
        }
    }

    /// The addresses of both ends, the world's first.
    fn ends(&self, network: u8) -> [String; 2] {
        let third = self.number * NETWORKS + network;
        [1, 2].map(|last| format!("10.77.{third}.{last}"))
    }

    /// What gives `eth0` the address that it has now.
    fn joining(&self) -> String {
        let [world, inside] = self.ends(self.network);
        format!("ip addr add {inside}/24 dev eth0\nip route add default via {world}\n")
    }

    fn run_inside(&self, script: &str) -> Result<(), Failure> {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.to_string(), "--net", "sh", "-ec", script]);
        Ok(process::run(&command, "").map(drop)?)
    }
}

/// Gives the world its address, and a default route: without one the programs in it know that they are cut
/// off, and wait.
///
/// # Errors
/// When the system refuses.
pub fn make_world() -> Result<(), Failure> {
    run(&format!(
        "ip link set lo up\nip addr replace {WORLD}/32 dev lo\nip route replace default dev lo src {WORLD}"
    ))
}

fn run(script: &str) -> Result<(), Failure> {
    Ok(process::run(Command::new("sh").args(["-ec", script]), "").map(drop)?)
}
