//! Where everything runs: namespaces for mounts and networks, which go with it.

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, Output, Stdio};

use tornet::process;

/// Where the relays are, as seen from every machine.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// In the namespaces: the process that stayed outside.
const OUTSIDE: &str = "ONIONSCRAPE_DEPLOYED_OUTSIDE";
/// Where a folder of control groups is in the namespaces.
pub const CONTROL_GROUPS: &str = "/run/onionscrape-deployed";

/// What must be there for machines.
///
/// # Errors
/// Says what is not.
pub fn is_possible() -> Result<(), String> {
    if outside().is_some() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err("they need root".into());
    }
    for program in ["mmdebstrap", "ip", "nsenter", "unshare", "dpkg"] {
        process::find(program).map_err(|error| error.to_string())?;
    }
    // Where machines are, since not every file system can be laid over another.
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut trial = unshare(&format!(
        "{} && mkdir {CONTROL_GROUPS}/try.$$ && rmdir {CONTROL_GROUPS}/try.$$ && cd \"$0\" && \
         mkdir lower upper work root && \
         mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root",
        script()
    ));
    trial.arg(folder.path());
    let tried = output(trial)?;
    if tried.status.success() {
        return Ok(());
    }
    Err(format!("namespaces cannot be had: {}", String::from_utf8_lossy(&tried.stderr).trim()))
}

/// Runs this binary again in namespaces of its own, and says how that ended; `None` where this is it already.
/// The process outside stays, so that there is a way to its network.
pub fn go_inside() -> Option<ExitCode> {
    if outside().is_some() {
        return None;
    }
    let mut inside = unshare(&format!("{} && exec \"$0\" \"$@\"", script()));
    inside.arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
    let status = inside.env(OUTSIDE, std::process::id().to_string()).status().unwrap();
    if let Some(signal) = status.signal() {
        eprintln!("the tests ended by signal {signal}");
    }
    Some(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A command that reaches the network outside, for package mirrors.
pub fn outside_command(program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", outside().unwrap())).arg(program);
    command
}

fn outside() -> Option<String> {
    std::env::var(OUTSIDE).ok()
}

/// What the world needs: the relays' address, a default route (a program that has none knows that it is cut
/// off, and waits), and control groups for machines.
fn script() -> String {
    format!(
        "ip link set lo up && ip addr add {WORLD}/32 dev lo && ip route add default dev lo src {WORLD} && \
         mkdir -p {CONTROL_GROUPS} && mount -t cgroup2 cgroup2 {CONTROL_GROUPS}"
    )
}

fn unshare(script: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "sh", "-c", script]);
    command
}

fn output(mut command: Command) -> Result<Output, String> {
    command.stdin(Stdio::null()).output().map_err(|error| error.to_string())
}
