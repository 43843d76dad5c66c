use std::path::Path;

use super::*;

fn ports(folder: &Path, range: RangeInclusive<u16>) -> AutoPorts {
    AutoPorts { file: folder.join(FILE), range, ours: vec![(local(20_000), "admin")], given: None }
}

/// Targets of these names, each with one exporter `node` that listens as named.
fn targets(named: &[(&str, &str)]) -> Vec<TargetConfig> {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("bridge.toml");
    let target = |(name, listen): &(&str, &str)| {
        format!(
            "[[target]]\nname = {name:?}\naddress = \"pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion\"\n\
             host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrfJXVREF2P2hkKKrbSQGHqs\"\n\
             [[target.exporter]]\nname = \"node\"\nlisten = {listen:?}\n"
        )
    };
    let text: String = named.iter().map(target).collect();
    std::fs::write(&file, format!("state_dir = {:?}\n{text}", folder.path())).expect("written");
    BridgeConfig::read(Some(&file), None).expect("right").targets
}

fn all_auto(names: &[&str]) -> Vec<TargetConfig> {
    targets(&names.iter().map(|name| (*name, "auto")).collect::<Vec<_>>())
}

/// The ports given when nobody else has any.
fn settle(ports: &mut AutoPorts, targets: &[TargetConfig]) -> Result<Vec<u16>, String> {
    let plan = ports.plan_by(targets, |_| false, |_| true).map_err(|Failure(why)| why)?;
    let of = |target: &TargetConfig| plan.of(&target.name, &"node".parse().expect("name"));
    let given = targets.iter().filter_map(of).map(|address| address.port()).collect();
    ports.commit(plan).map_err(|Failure(why)| why)?;
    Ok(given)
}

#[test]
fn a_port_is_kept_across_restarts_whoever_comes_and_goes() {
    let folder = tempfile::tempdir().expect("folder");
    let mut first = ports(folder.path(), 20_001..=20_010);
    assert_eq!(settle(&mut first, &all_auto(&["b", "a"])), Ok(vec![20_001, 20_002]));
    let stamp = onionscrape::files::Stamp::take(&folder.path().join(FILE));
    let mut again = ports(folder.path(), 20_001..=20_010);
    assert_eq!(settle(&mut again, &all_auto(&["a", "b"])), Ok(vec![20_002, 20_001]));
    assert_eq!(settle(&mut again, &all_auto(&["a"])), Ok(vec![20_002]));
    assert!(stamp.still_holds(), "what has not changed is not written");
    // One that comes does not get what one that went had, as long as there are others.
    assert_eq!(settle(&mut again, &all_auto(&["c", "a"])), Ok(vec![20_003, 20_002]));
    let mut third = ports(folder.path(), 20_001..=20_010);
    assert_eq!(settle(&mut third, &all_auto(&["b"])), Ok(vec![20_001]), "nor is it forgotten");
}

#[test]
fn what_is_only_planned_changes_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let mut ports = ports(folder.path(), 20_001..=20_002);
    assert_eq!(settle(&mut ports, &all_auto(&["a"])), Ok(vec![20_001]));
    let stamp = onionscrape::files::Stamp::take(&folder.path().join(FILE));
    // `b` and `c` fail for another reason, and are gone from the configuration again.
    drop(ports.plan_by(&all_auto(&["b", "c"]), |_| false, |_| true).expect("room"));
    assert!(stamp.still_holds());
    assert_eq!(settle(&mut ports, &all_auto(&["a", "d"])), Ok(vec![20_001, 20_002]));
}

#[test]
fn taken_ports_are_passed_over() {
    let folder = tempfile::tempdir().expect("folder");
    let mut ports = ports(folder.path(), 20_000..=20_010);
    let wanted = targets(&[("a", "auto"), ("b", "127.0.0.1:20001"), ("c", "[::1]:20003"), ("d", "auto")]);
    let plan = ports.plan_by(&wanted, |_| false, |port| port != 20_002).expect("room");
    let of = |name: &str| plan.of(&name.parse().expect("name"), &"node".parse().expect("name"));
    assert_eq!((of("a"), of("d")), (Some(local(20_003)), Some(local(20_004))));
}

#[test]
fn an_exhausted_range_takes_from_those_that_are_gone_and_from_nobody_else() {
    let folder = tempfile::tempdir().expect("folder");
    let mut ports = ports(folder.path(), 20_001..=20_002);
    assert_eq!(settle(&mut ports, &all_auto(&["a", "b"])), Ok(vec![20_001, 20_002]));
    let said = settle(&mut ports, &all_auto(&["a", "b", "c"])).expect_err("exhausted");
    assert_eq!(
        said,
        "c/node: no port of 20001-20002 is left for listen = \"auto\"; widen auto_ports in [listen]"
    );
    assert_eq!(settle(&mut ports, &all_auto(&["a", "b"])), Ok(vec![20_001, 20_002]), "nothing has changed");
    // `a` goes, and its listener is still open.
    let plan = ports.plan_by(&all_auto(&["c", "b"]), |port| port == 20_001, |_| false).expect("room");
    ports.commit(plan).expect("written");
    assert_eq!(settle(&mut ports, &all_auto(&["c", "b"])), Ok(vec![20_001, 20_002]));
}

#[test]
fn a_port_that_was_given_is_not_another_ones_by_hand() {
    let folder = tempfile::tempdir().expect("folder");
    let mut given = ports(folder.path(), 20_001..=20_010);
    settle(&mut given, &all_auto(&["a"])).expect("given");
    let said = settle(&mut given, &targets(&[("a", "auto"), ("b", "127.0.0.1:20001")])).expect_err("taken");
    assert_eq!(said, "b/node: port 20001 was given to a/node, which has listen = \"auto\"; choose another");
    let mut moved = ports(folder.path(), 20_001..=20_010);
    moved.ours = vec![("0.0.0.0:20001".parse().expect("address"), "admin")];
    let said = settle(&mut moved, &all_auto(&["a"])).expect_err("taken");
    assert!(said.starts_with("admin: port 20001 was given to a/node"), "{said}");
}

#[test]
fn another_range_gives_other_ports() {
    let folder = tempfile::tempdir().expect("folder");
    settle(&mut ports(folder.path(), 20_001..=20_002), &all_auto(&["a", "b"])).expect("given");
    let mut wider = ports(folder.path(), 20_002..=20_005);
    assert_eq!(settle(&mut wider, &all_auto(&["a", "b"])), Ok(vec![20_003, 20_002]));
}

#[test]
fn a_damaged_file_is_never_passed_over() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join(FILE);
    for (text, what) in [
        ("[ports]\n\"a/node\" = 20001\n\"b/node\" = 20001\n", "port 20001 is given twice or no port"),
        ("[ports]\n\"a/node\" = 0\n", "port 0 is given twice or no port"),
        ("[ports]\n\"a\" = 20001\n", "\"a\" is not TARGET/EXPORTER"),
        ("[ports]\n\"../a\" = 20001\n", "\"../a\" is not TARGET/EXPORTER"),
        ("[ports]\n\"a/node\" = 70000\n", ""),
        ("[ports]\n\"a/node\" = \n", ""),
        ("[parts]\n", ""),
        ("\u{0}\u{0}", ""),
    ] {
        let _ = std::fs::remove_file(&file);
        files::create_private(&file, text.as_bytes()).expect("written");
        let said = settle(&mut ports(folder.path(), 20_001..=20_010), &all_auto(&["a"])).expect_err(text);
        let whole = format!("{}: is damaged: {what}", file.display());
        assert!(said.starts_with(&whole) && said.ends_with(REMEDY), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), text, "it is left as it was");
    }
    // Where nobody wants a port nobody looks.
    assert_eq!(settle(&mut ports(folder.path(), 1..=2), &targets(&[("a", "127.0.0.1:1")])), Ok(vec![]));
}
