//! Completions and manual pages: made from the command line's definition, so all of it is in them.

use std::fs;
use std::process::Command;

use crate::checkout::program;
use crate::world::{World, run};

pub async fn completions_and_manual_pages(world: &World) {
    let folder = world.folder();
    for name in ["target-agent", "scraper-bridge"] {
        // Whatever the configuration says.
        fs::write(folder.join("broken.toml"), "[").unwrap();
        let broken = folder.join("broken.toml").to_str().unwrap().to_owned();
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let printed = run(name, &["completions", shell, "--config.file", &broken]);
            assert!(printed.status.success(), "{printed:?}");
            assert!(String::from_utf8(printed.stdout).unwrap().contains("doctor"), "{name} {shell}");
        }
        let bash = folder.join("completions.bash");
        fs::write(&bash, run(name, &["completions", "bash"]).stdout).unwrap();
        let checked = Command::new("bash").arg("-n").arg(&bash).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
        // What a shell offers after `PROGRAM doc` and Tab.
        let script = format!(
            ". {bash:?}; COMP_WORDS=({name} doc); COMP_CWORD=1; _{} {name} doc {name}; echo \"${{COMPREPLY[@]}}\"",
            name.replace('-', "__")
        );
        let offered = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&offered.stdout).trim(), "doctor", "{offered:?}");

        let pages = folder.join(format!("{name}-pages"));
        fs::create_dir(&pages).unwrap();
        let printed = run(name, &["man", "--dir", pages.to_str().unwrap(), "--config.file", &broken]);
        assert!(printed.status.success(), "{printed:?}");
        for subcommand in subcommands(name) {
            let page = fs::read_to_string(pages.join(format!("{name}-{subcommand}.1"))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name} {subcommand}:\n{page}");
        }
        let printed = String::from_utf8(run(name, &["man"]).stdout).unwrap();
        let doctor = format!("{}\\-doctor(1)", name.replace('-', "\\-"));
        assert!(printed.starts_with(".ie") && printed.contains(&doctor), "{printed}");
        assert!(pages.join(format!("{name}.1")).exists());
        for page in fs::read_dir(&pages).unwrap() {
            let page = page.unwrap().path();
            let Ok(shown) = Command::new("man").args(["--warnings", "-E", "UTF-8", "-l"]).arg(&page).output()
            else {
                continue; // This machine has no reader of manual pages.
            };
            assert!(shown.status.success() && shown.stderr.is_empty(), "{}: {shown:?}", page.display());
        }
        let nowhere = run(name, &["man", "--dir", "/nowhere"]);
        assert_eq!(nowhere.status.code(), Some(1), "{nowhere:?}");
        assert!(String::from_utf8_lossy(&nowhere.stderr).contains("/nowhere"), "{nowhere:?}");
    }
}

/// What `--help` lists.
fn subcommands(name: &str) -> Vec<String> {
    let help = Command::new(program(name)).arg("-h").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // A line of its own begins two letters in; what is wrapped is further in.
    let named = commands.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let named: Vec<_> = named.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    assert!(named.len() > 8, "{help}");
    named.into_iter().filter(|name| name != "help").collect()
}
