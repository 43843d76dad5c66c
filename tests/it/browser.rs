//! A real browser without a window, driven by the DevTools protocol over a pair of pipes, so that
//! nothing listens for it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::time::timeout;
use tornet::process::{self, Process};

/// How long the browser may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// Opens the two pipes as the file descriptors that the browser takes commands from and answers to.
const SCRIPT: &str = "in=$1; out=$2; shift 2; exec \"$@\" 3<\"$in\" 4>\"$out\"";
/// It is to fetch what it is told to, and nothing else on earth.
const QUIET: [&str; 16] = [
    "--headless=new",
    "--remote-debugging-pipe",
    // Tests run as root too, and in containers with little shared memory.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-features=MediaRouter,DialMediaRouteProvider,OptimizationHints,Translate,NetworkTimeServiceQuerying",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--hide-scrollbars",
    "--lang=en",
];

/// A browser with one page; it ends when dropped.
pub struct Browser {
    _process: Process,
    commands: pipe::Sender,
    answers: BufReader<pipe::Receiver>,
    session: String,
    last: u64,
    /// What the page complained of: errors, warnings, violations of its policy.
    pub complaints: Vec<String>,
    /// Every address that was asked for.
    pub requests: Vec<String>,
}

impl Browser {
    pub async fn start(folder: &Path) -> Self {
        let (input, output) = (folder.join("commands"), folder.join("answers"));
        let made = Command::new("mkfifo").args([&input, &output]).status().unwrap();
        assert!(made.success());
        // For both ends, since each would wait for the other.
        let mut open = pipe::OpenOptions::new();
        let commands = open.read_write(true).open_sender(&input).unwrap();
        let answers = BufReader::new(open.read_write(true).open_receiver(&output).unwrap());
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).args([&input, &output]).arg("chromium").args(QUIET);
        command.arg(format!("--user-data-dir={}", folder.join("profile").display())).arg("about:blank");
        command.env("HOME", folder);
        let process = process::spawn(&command, &folder.join("chromium.log")).unwrap();
        let mut browser = Self {
            _process: process,
            commands,
            answers,
            session: String::new(),
            last: 0,
            complaints: Vec::new(),
            requests: Vec::new(),
        };
        let made = browser.tell("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": made["targetId"], "flatten": true});
        let attached = browser.tell("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.tell(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Opens a page and waits until it is there with its style and script.
    pub async fn open(&mut self, url: &str) {
        let opened = self.tell("Page.navigate", json!({"url": url})).await;
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        let here = format!("document.readyState == 'complete' && location.href == {url:?}");
        self.until("the page is there", &here).await;
    }

    /// What an expression is in the page.
    pub async fn value(&mut self, expression: &str) -> Value {
        let found = self.evaluate(expression).await;
        found.unwrap_or_else(|why| panic!("{expression}: {why}"))
    }

    /// Waits until an expression is true. Meanwhile it may have no value, as while another page comes.
    pub async fn until(&mut self, what: &str, expression: &str) {
        let started = Instant::now();
        while self.evaluate(expression).await != Ok(Value::Bool(true)) {
            if started.elapsed() > PATIENCE {
                let page = self.evaluate("document.body.innerText").await;
                panic!("not in time: {what}; the page says: {page:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let ask = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.ask("Runtime.evaluate", ask).await?;
        match answer.get("exceptionDetails") {
            Some(exception) => Err(exception.clone()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Clicks in the middle of an element, as a person does.
    pub async fn click(&mut self, selector: &str) {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{block: 'center'}}); \
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let place = self.value(&place).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let click =
                json!({"type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1});
            self.tell("Input.dispatchMouseEvent", click).await;
        }
    }

    /// Types where the cursor is.
    pub async fn write(&mut self, text: &str) {
        self.tell("Input.insertText", json!({"text": text})).await;
    }

    /// A window of this size, in light or dark; narrow ones are phones.
    pub async fn looks(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.tell("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tell("Emulation.setEmulatedMedia", scheme).await;
    }

    /// The page as a PNG, all of its height.
    pub async fn picture(&mut self) -> Vec<u8> {
        let ask = json!({"format": "png", "captureBeyondViewport": true, "optimizeForSpeed": false});
        let taken = self.tell("Page.captureScreenshot", ask).await;
        data_encoding::BASE64.decode(taken["data"].as_str().unwrap().as_bytes()).unwrap()
    }

    async fn tell(&mut self, method: &str, parameters: Value) -> Value {
        self.ask(method, parameters).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends a command and waits for its answer; what happens meanwhile is noted.
    async fn ask(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": parameters});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut line = command.to_string().into_bytes();
        line.push(0);
        self.commands.write_all(&line).await.unwrap();
        loop {
            let mut message = Vec::new();
            let read = timeout(PATIENCE, self.answers.read_until(0, &mut message)).await;
            read.unwrap_or_else(|_| panic!("the browser does not answer to {method}")).unwrap();
            message.pop();
            let mut message: Value = serde_json::from_slice(&message).unwrap();
            if message["id"] == json!(self.last) {
                return match message.get("error") {
                    Some(error) => Err(error.clone()),
                    None => Ok(message["result"].take()),
                };
            }
            self.happened(&message);
        }
    }

    fn happened(&mut self, event: &Value) {
        let about = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(about["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            "Runtime.exceptionThrown" => self.complaints.push(about["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if about["type"] != "log" => self.complaints.push(about.to_string()),
            "Log.entryAdded" if about["entry"]["level"] != "info" && about["entry"]["level"] != "verbose" => {
                self.complaints.push(about["entry"].to_string())
            }
            _ => {}
        }
    }
}
