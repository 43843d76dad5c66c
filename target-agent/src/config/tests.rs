use super::*;
use crate::host::Collector;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ home";

fn read(text: &str) -> Result<AgentConfig, String> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("agent.toml");
    std::fs::write(&path, text).expect("write");
    AgentConfig::read(Some(&path), Some(folder.path().join("state")))
        .map_err(|mistakes| mistakes.to_string().replace(&path.display().to_string(), "agent.toml"))
}

fn mistake(text: &str) -> String {
    read(text).expect_err(text)
}

fn names(config: &AgentConfig) -> Vec<&str> {
    config.exporters.iter().map(|exporter| exporter.name.as_str()).collect()
}

#[test]
fn no_file_is_enough() {
    let config = AgentConfig::read(None, Some("/state".into())).expect("defaults");
    assert_eq!(config.exporters[0], ExporterConfig::node().expect("node"));
    assert!(config.exporters[0].listens_openly_at("127.0.0.1:9100".parse().expect("address")));
    assert_eq!(names(&config), ["node", "host"]);
    assert_eq!(config.exporters[1].source, Source::BuiltIn(Collector::ALL.into()));
    assert_eq!(config.admin, None);
    let FrontConfig::Ssh(ssh) = &config.front else { unreachable!("forward is off by default") };
    assert_eq!(config.sources.authorized_keys, Path::new("/state/authorized_keys"));
    assert_eq!(ssh.login_grace, Duration::from_secs(60));
    assert!(AgentConfig::read(None, None).is_ok());
}

#[test]
fn a_full_file_is_read() {
    let text = format!(
        r#"
        state_dir = "elsewhere"
        [[exporter]]
        name = "node"
        address = "127.0.0.1:9100"
        [[exporter]]
        name = "app"
        address = "unix:/run/app.sock"
        path = "/app/metrics"
        labels = {{ team = "blue" }}
        [ssh]
        authorized_keys = "keys"
        keys = ["{KEY}"]
        login_grace = "30s"
        [admin]
        listen = "127.0.0.1:0"
        [log]
        format = "json"
        "#
    );
    let config = read(&text).expect("right");
    assert!(config.state_directory.ends_with("state"), "the command line has the last word");
    assert_eq!(names(&config), ["node", "app", "host"]);
    assert_eq!(config.exporters[1].labels["team"], "blue");
    let FrontConfig::Ssh(ssh) = &config.front else { unreachable!("there is no forward") };
    assert!(config.sources.authorized_keys.is_absolute() && config.sources.authorized_keys.ends_with("keys"));
    assert_eq!((config.sources.inline.len(), ssh.login_grace), (1, Duration::from_secs(30)));
}

#[test]
fn mistakes_are_named_with_their_place() {
    let exporter = |name: &str, rest: &str| format!("[[exporter]]\nname = \"{name}\"\n{rest}\n");
    let node = exporter("node", "address = \"127.0.0.1:9100\"");
    assert!(mistake(&exporter("agent", "address = \"127.0.0.1:1\"")).starts_with("agent.toml:2:8: the name"));
    assert!(mistake(&format!("{node}{node}")).starts_with("agent.toml:5:8: another exporter"));
    for (rest, what) in [
        ("address = \"192.0.2.1:9100\"", "not a loopback address"),
        ("address = \"localhost:9100\"", "host name"),
        ("", "needs the key \"address\""),
        ("address = \"127.0.0.1:1\"\npath = \"metrics\"", "begins with /"),
        ("address = \"127.0.0.1:1\"\npath = \"/a?b\"", "begins with /"),
        ("address = \"127.0.0.1:1\"\nlabels = { \"a-b\" = \"c\" }", "cannot be a label"),
        ("address = \"127.0.0.1:1\"\nlabels = { __name__ = \"c\" }", "cannot be a label"),
        ("adress = \"127.0.0.1:1\"", "did you mean \"address\"?"),
    ] {
        let mistake = mistake(&exporter("x", rest));
        assert!(mistake.contains(what), "{rest}: {mistake}");
    }
    assert!(mistake("[admin]\nlisten = \"0.0.0.0:1\"\n").contains("agent.toml:2:10: listen: 0.0.0.0 is not"));
    assert!(mistake("[ssh]\nlogin_grace = \"0s\"\n").contains("within no time"));
    let mistake = mistake("[ssh]\nkeys = [\"ssh-rsa AAAA\"]\n");
    assert!(mistake.contains("keys: a key of the kind ssh-rsa"), "{mistake}");
    assert!(mistake.starts_with("agent.toml:2:"), "{mistake}");
}

#[test]
fn forward_excludes_own_keys() {
    let config = read("[ssh]\nforward = \"127.0.0.1:22\"\n").expect("right");
    assert!(matches!(config.front, FrontConfig::Forward(to) if to.to_string() == "127.0.0.1:22"));
    for other in [&format!("keys = [\"{KEY}\"]"), "authorized_keys = \"x\"", "login_grace = \"1s\""] {
        let mistake = mistake(&format!("[ssh]\nforward = \"127.0.0.1:22\"\n{other}\n"));
        let key = other.split(' ').next().expect("key");
        assert!(mistake.starts_with("agent.toml:2:11: forward: ") && mistake.contains(key), "{mistake}");
    }
    assert!(mistake("[ssh]\nforward = \"192.0.2.1:22\"\n").contains("not a loopback address"));
}

#[test]
fn the_built_in_exporter_has_a_name_of_its_own_unless_it_is_off() {
    let own = "[[exporter]]\nname = \"host\"\naddress = \"127.0.0.1:1\"\n";
    let taken = mistake(own);
    assert!(
        taken.starts_with("agent.toml:2:8: the name \"host\"") && taken.contains("enabled = false"),
        "{taken}"
    );
    let config = read(&format!("[host]\nenabled = false\n{own}")).expect("the name is free");
    assert_eq!(names(&config), ["host"]);
    assert!(config.exporters[0].listens_openly_at("127.0.0.1:1".parse().expect("address")));

    let some =
        read("[host]\ncollectors = [\"os\", \"cpu\", \"os\"]\nlabels = { a = \"b\" }\n").expect("right");
    assert_eq!(names(&some), ["node", "host"]);
    assert_eq!(some.exporters[1].source, Source::BuiltIn([Collector::Cpu, Collector::Os].into()));
    assert_eq!(some.exporters[1].labels["a"], "b");
    for collector in Collector::ALL {
        let text = format!("[host]\ncollectors = [{:?}]\n", collector.name());
        let one = read(&text).expect("its name in the configuration is its name on the page");
        assert_eq!(one.exporters[1].source, Source::BuiltIn([collector].into()));
    }
}

#[test]
fn an_exporter_with_a_filter_is_not_open_by_its_address() {
    let filtered = |filter: &str| {
        let text = format!("[[exporter]]\nname = \"x\"\naddress = \"127.0.0.1:1\"\n{filter}\n");
        read(&text).expect("right").exporters[0].listens_openly_at("127.0.0.1:1".parse().expect("address"))
    };
    assert!(filtered(""));
    assert!(!filtered("keep = \"a\"") && !filtered("drop = [\"a\", 'b\\d']"));
}

#[test]
fn an_exporters_passwords_are_named_as_prometheus_does() {
    use hyper::header::{AUTHORIZATION, HeaderValue};

    use crate::exporter::Value;
    let text = |more: &str| format!("[[exporter]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\n{more}\n");
    let fields = |more: &str| read(&text(more)).expect(more).exporters.remove(0).own_fields.0;
    let [(name, Value::Basic(user, file))] =
        &fields("basic_auth = { username = \"prometheus\", password_file = \"password\" }")[..]
    else {
        unreachable!("one field")
    };
    assert_eq!((name, user.as_str()), (&AUTHORIZATION, "prometheus"));
    assert!(file.is_absolute() && file.ends_with("password"), "taken from the file's folder");
    let bearer = fields("authorization = { credentials_file = \"/run/token\" }");
    assert!(bearer == [(AUTHORIZATION, Value::Scheme("Bearer".into(), "/run/token".into()))]);
    let headers = fields("headers = { X-A = \"one\", X-B = { file = \"/run/b\" } }");
    let text = Value::Text(HeaderValue::from_static("one"));
    let (a, b) = ("x-a".parse().expect("name"), "x-b".parse().expect("name"));
    assert!(headers == [(a, text), (b, Value::File("/run/b".into()))]);
    assert!(!format!("{:?}", read(&text_of_secret())).contains("secret"), "never in a debug line");
}

fn text_of_secret() -> String {
    "[[exporter]]\nname = \"a\"\naddress = \"127.0.0.1:1\"\nheaders = { X-A = \"secret\" }\n".into()
}
