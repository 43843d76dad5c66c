//! Programs are killed while they write; whoever starts next finds every file whole.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::Outcome;
use crate::Failure;
use crate::build::Programs;
use crate::stage::Stage;

/// Kills that hit the same folder, one after the other.
const IN_A_ROW: usize = 5;

/// Rows for each one that would do if every kill hit a program before its end.
const PATIENCE: usize = 4;

/// Kills programs that write, until so many were hit before their end.
pub fn run(what: &str, programs: &Programs, folder: &Path, times: usize) -> Result<Outcome, Failure> {
    let stage = Stage::begin(format!("{times} × {what}"));
    let mut violations = Vec::new();
    let (mut kills, mut cut) = (0, 0);
    let [first, again] = whole_runs(programs, folder)?;
    for row in 0..times.div_ceil(IN_A_ROW) * PATIENCE {
        if cut >= times {
            break;
        }
        let home = folder.join(row.to_string());
        fs::create_dir(&home)?;
        fs::write(home.join("config.toml"), "state_dir = \"state\"\n")?;
        let is_device = row % 3 != 2;
        let program = if is_device { &programs.agent } else { &programs.bridge };
        let who: &[&str] = if is_device { &["hostname", "--json"] } else { &["key"] };
        let mut known: Option<String> = None;
        for kill in 0..IN_A_ROW {
            let name = format!("b{kill}");
            // Each writes a ticket; the first one makes the identity, too, which the others have to find.
            let arguments = if is_device { &["ticket", "--name", &name][..] } else { who };
            let number = row * IN_A_ROW + kill;
            let whole = if is_device && kill > 0 { again } else { first };
            let pause = whole.mul_f64(((number + row) % 20) as f64 / 20.0);
            let (ended, said) = killed(program, &home, arguments, pause)?;
            kills += 1;
            cut += usize::from(!ended);
            if arguments == who && said.ends_with('\n') {
                known.get_or_insert(said);
            }
            // A bridge writes its key once, and is asked each time, so that the next one is to write another.
            if is_device && kill + 1 < IN_A_ROW && number.is_multiple_of(2) {
                continue;
            }
            let mut questions = vec![who];
            if is_device {
                questions.push(&["bridges"]);
            }
            for question in questions {
                match said_by(program, &home, question)? {
                    Err(why) => violations.push(format!("after kill {number}: {question:?}: {why}")),
                    Ok(said) if question == who => {
                        if *known.get_or_insert_with(|| said.clone()) != said {
                            violations.push(format!("after kill {number}: another identity"));
                        }
                    }
                    Ok(_) => {}
                }
            }
            if !is_device {
                fs::remove_dir_all(home.join("state"))?;
                known = None;
            }
        }
        fs::remove_dir_all(&home)?;
    }
    stage.done();
    let line =
        format!("{cut} × {what}, before its end, of {kills} kills: {} unreadable files", violations.len());
    Ok(Outcome { line, violations })
}

/// How long a program takes that is not killed, on a new device and on one that has its identity.
fn whole_runs(programs: &Programs, folder: &Path) -> Result<[Duration; 2], Failure> {
    let home = folder.join("whole");
    fs::create_dir_all(&home)?;
    fs::write(home.join("config.toml"), "state_dir = \"state\"\n")?;
    let run = || {
        let started = Instant::now();
        said_by(&programs.agent, &home, &["ticket"])??;
        Ok::<_, Failure>(started.elapsed())
    };
    Ok([run()?, run()?])
}

/// Starts a program and kills it after a while. Whether it had ended, and what it had printed.
fn killed(
    program: &Path,
    home: &Path,
    arguments: &[&str],
    after: Duration,
) -> Result<(bool, String), Failure> {
    let mut child = command(program, home, arguments).spawn()?;
    std::thread::sleep(after);
    let ended = child.try_wait()?.is_some();
    child.kill()?;
    child.wait()?;
    let mut said = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said)?;
    }
    Ok((ended, said))
}

fn said_by(program: &Path, home: &Path, arguments: &[&str]) -> Result<Result<String, String>, Failure> {
    let output = command(program, home, arguments).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr).trim().to_owned())
    })
}

fn command(program: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).args(["--config.file", "config.toml"]).current_dir(home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}
