//! Manifests for Kubernetes: read with its own schemas and those of Prometheus' operator.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::{files, program, repository, succeed, tools};

/// Schemas say what a field must be; types made from them say that there is no other field.
pub fn schemas_are_kept() {
    let good = check(&manifests());
    assert!(good.is_ok(), "{good:?}");

    // It does look, at both.
    let mut unknown = manifests();
    let scrape = unknown.iter_mut().find(|manifest| manifest["kind"] == "ScrapeConfig").unwrap();
    scrape["spec"]["proxyURL"] = "http://127.0.0.1:9823".into();
    assert!(check(&unknown).is_err_and(|why| why.contains("proxyURL")));
    let mut wrong = manifests();
    let scrape = wrong.iter_mut().find(|manifest| manifest["kind"] == "ScrapeConfig").unwrap();
    scrape["spec"]["scrapeInterval"] = "often".into();
    assert!(check(&wrong).is_err_and(|why| why.contains("scrapeInterval must match pattern")));
}

/// What schemas know nothing of: our own configuration, commands and ports, and Prometheus' configuration.
pub fn what_is_in_them_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let manifests = manifests();
    let data = |name: &str, file: &str| {
        let found =
            manifests.iter().find(|one| one["kind"] == "ConfigMap" && one["metadata"]["name"] == name);
        let path = folder.path().join(file);
        fs::write(&path, found.unwrap()["data"][file].as_str().unwrap()).unwrap();
        path
    };
    let bridge = data("scraper-bridge", "bridge.toml");
    let state = folder.path().join("state");
    succeed(
        Command::new(program("scraper-bridge"))
            .args(["check", "--state-dir", state.to_str().unwrap(), "--config.file"])
            .arg(&bridge),
    );
    succeed(Command::new("promtool").args(["check", "config"]).arg(data("prometheus", "prometheus.yml")));

    let configured = fs::read_to_string(bridge).unwrap();
    let all = serde_json::to_string(&manifests).unwrap();
    assert!(configured.contains("listen = \"127.0.0.1:9823\"") && all.contains("\"http://127.0.0.1:9823\""));
    let containers: Vec<&Value> = manifests
        .iter()
        .flat_map(|one| [&one["spec"]["containers"], &one["spec"]["template"]["spec"]["containers"]])
        .flat_map(|containers| containers.as_array().into_iter().flatten())
        .filter(|container| container["name"] == "scraper-bridge")
        .collect();
    assert_eq!(containers.len(), 2, "one by hand, one for the operator");
    for container in containers {
        let image = container["image"].as_str().unwrap();
        assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{image}");
        let words = container["livenessProbe"]["exec"]["command"].as_array().unwrap();
        let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(words[0], "/scraper-bridge");
        succeed(Command::new(program("scraper-bridge")).args(&words[1..]).arg("--help"));
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
        let mounts = container["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|mount| mount["mountPath"] == "/state"), "where the image keeps its keys");
    }
}

/// Each way to run Prometheus needs the bridge's file, and nothing of the other way.
pub fn each_way_is_whole() {
    for way in ["prometheus-with-bridge.yaml", "operator-prometheus.yaml"] {
        let manifests =
            ["bridge.yaml", way].map(|file| read(repository("deploy/kubernetes").join(file))).concat();
        let has = |kind: &str, name: &str| {
            manifests.iter().any(|one| one["kind"] == kind && one["metadata"]["name"] == name)
        };
        for one in manifests.iter().filter(|one| one["kind"] != "Namespace") {
            assert!(has("Namespace", one["metadata"]["namespace"].as_str().unwrap()), "{way}: {one}");
        }
        let all = serde_json::to_string(&manifests).unwrap();
        let named = all.split(r#""configMap":{"name":""#).skip(1).map(|rest| rest.split('"').next().unwrap());
        let named: Vec<_> = named.collect();
        assert!(named.contains(&"scraper-bridge"), "{way}: {named:?}");
        for name in named {
            assert!(has("ConfigMap", name), "{way}: {name}");
        }
    }
}

fn manifests() -> Vec<Value> {
    files("deploy/kubernetes", "yaml").into_iter().flat_map(read).collect()
}

fn read(path: PathBuf) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Compiles them as values of the types, then has the schemas look at them.
fn check(manifests: &[Value]) -> Result<(), String> {
    let modules = tools::folder();
    // Where node looks for modules from the file's folder upwards.
    let folder = tempfile::tempdir_in(modules.parent().unwrap()).unwrap();
    let mut source = String::new();
    for (number, manifest) in manifests.iter().enumerate() {
        let (group, kind) = (manifest["apiVersion"].as_str().unwrap(), manifest["kind"].as_str().unwrap());
        let mut manifest = manifest.clone();
        // The types have these two by themselves.
        manifest.as_object_mut().unwrap().retain(|key, _| key != "apiVersion" && key != "kind");
        let package = match group.starts_with("monitoring.coreos.com/") {
            true => "@kubernetes-models/prometheus-operator",
            false => "kubernetes-models",
        };
        source += &format!("import {{ {kind} as Kind{number} }} from '{package}/{group}';\n");
        source += &format!("new Kind{number}({manifest}).validate();\n");
    }
    fs::write(folder.path().join("manifests.mts"), source).unwrap();
    let run = |program: &mut Command| {
        let output = program.current_dir(folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&said).into_owned()) }
    };
    let options =
        ["--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2022", "manifests.mts"];
    run(Command::new("node").arg(modules.join("typescript/bin/tsc")).args(options))?;
    run(Command::new("node").arg("manifests.mjs"))
}
