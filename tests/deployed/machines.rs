//! Machines themselves: whether what is proved on them is proved.

use crate::world::World;

/// Units would be no proof of anything on a machine that leaves their restrictions out.
pub fn systemd_restricts_what_it_runs(world: &World) {
    let machine = world.machine("plain");
    let run = |properties: &[&str], script: &str| {
        let mut command = vec!["systemd-run", "--quiet", "--wait", "--pipe"];
        command.extend(properties.iter().flat_map(|property| ["--property", property]));
        command.extend(["sh", "-c", script]);
        machine.output(&command)
    };
    for (properties, possible_without) in [
        (&["ProtectSystem=strict"][..], "touch /var/lib/x"),
        (
            &["PrivateUsers=yes"],
            "[ $(wc -l < /proc/self/uid_map) = 1 ] && grep -q 4294967295 /proc/self/uid_map",
        ),
        (&["SystemCallFilter=~@chown"], "touch /run/y && chown 1 /run/y"),
        (&["RestrictAddressFamilies=AF_UNIX"], "ip link show lo"),
        (&["PrivateNetwork=yes"], "ip link show eth0"),
        (&["ProtectProc=invisible", "User=nobody"], "[ -e /proc/1/status ]"),
        (&["RestrictNamespaces=yes"], "unshare --uts true"),
        (&["CapabilityBoundingSet="], "unshare --uts true"),
    ] {
        let (free, restricted) = (run(&[], possible_without), run(properties, possible_without));
        assert!(free.status.success(), "{possible_without}: {free:?}");
        assert!(!restricted.status.success(), "{properties:?} is not enforced: {restricted:?}");
    }
}
