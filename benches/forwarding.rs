//! An answer on its way from an exporter through agent, SSH and bridge, all in this process and without Tor.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crowd::device::{self, Kind};
use scraper_bridge::bridge::Bridge;
use scraper_bridge::config::BridgeConfig;
use target_agent::config::{AgentConfig, FrontConfig};
use tokio_util::sync::CancellationToken;

/// A small exporter's body, node_exporter's, and a large one.
const SIZES: [usize; 3] = [1 << 10, 60 << 10, 1 << 20];

/// Answers everything with a body of this size, on kept connections.
fn exporter(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let line = "bench_filler_total{device=\"disk\",mode=\"read\"} 123456789\n";
    let body: String = line.chars().cycle().take(size).collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty() && stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// An agent and a bridge in front of it; returns where the bridge offers each exporter.
async fn chain(folder: &Path, shutdown: &CancellationToken) -> (Bridge, Vec<SocketAddr>) {
    let key = onionscrape::ssh::KeyFile::open_or_make(&folder.join("key"), "bridge").unwrap();
    let mut text =
        format!("state_dir = {:?}\n[ssh]\nkeys = [{:?}]\n", folder.join("agent"), key.public_line());
    for size in SIZES {
        text += &format!("[[exporter]]\nname = \"b{size}\"\naddress = \"{}\"\n", exporter(size));
    }
    let file = folder.join("agent.toml");
    fs::write(&file, text).unwrap();
    let config = AgentConfig::read(Some(&file), None).unwrap();
    let FrontConfig::Ssh(settings) = config.front.clone() else { unreachable!("nothing says forward") };
    let (agent, host_key) = device::start(1, &config, settings, Kind::Tcp, shutdown.clone()).await.unwrap();
    let mut text = format!(
        "state_dir = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n[[target]]\nname = \"backpack\"\n\
         address = \"ssh://{agent}\"\nhost_key = {host_key:?}\nkey_file = {:?}\n",
        folder.join("bridge"),
        folder.join("key"),
    );
    for size in SIZES {
        text += &format!("[[target.exporter]]\nname = \"b{size}\"\nlisten = \"127.0.0.1:0\"\n");
    }
    let file = folder.join("bridge.toml");
    fs::write(&file, text).unwrap();
    let config = BridgeConfig::read(Some(&file), None).unwrap();
    let bridge = Box::pin(Bridge::start(config, shutdown.clone())).await.unwrap();
    let target = bridge.fleet().target("backpack").unwrap();
    target.state().wait_for(|state| state.pool().is_some()).await.unwrap();
    let offered = bridge.fleet().offered().remove(0);
    let addresses =
        offered.listening.iter().map(|listening| listening.to_string().parse().unwrap()).collect();
    (bridge, addresses)
}

/// One scrape on a connection that is kept, by somebody who takes such encodings; returns the length of its body.
fn scrape(stream: &mut BufReader<TcpStream>, encodings: &str) -> usize {
    let host = stream.get_ref().peer_addr().unwrap();
    let fields = format!("Host: {host}\r\nAccept-Encoding: {encodings}\r\n");
    write!(stream.get_mut(), "GET /metrics HTTP/1.1\r\n{fields}\r\n").unwrap();
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = line(stream).to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("transfer-encoding", _)) => chunked = true,
            Some(_) => {}
            None if line.is_empty() => break,
            None => assert_eq!(line, "http/1.1 200 ok"),
        }
    }
    if !chunked {
        return read(stream, length);
    }
    let mut total = 0;
    loop {
        let size = line(stream);
        let size = read(stream, usize::from_str_radix(&size, 16).unwrap());
        assert_eq!(line(stream), "");
        total += size;
        if size == 0 {
            return total;
        }
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}

fn read(stream: &mut BufReader<TcpStream>, length: usize) -> usize {
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    length
}

fn forwarding(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shutdown = CancellationToken::new();
    let (bridge, addresses) = runtime.block_on(Box::pin(chain(folder.path(), &shutdown)));
    // Against the body before, which was the same, next to nothing is left between the programs. Where nothing is said
    // to take a body as it is (RFC 9110, section 12.5.3), all of it goes through.
    for (name, encodings) in [("forwarding", "gzip"), ("forwarding, uncompressed", "gzip, identity;q=0")] {
        let mut group = criterion.benchmark_group(name);
        for (size, address) in SIZES.into_iter().zip(&addresses) {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut stream = BufReader::new(stream);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{size} B through agent and bridge"), |bencher| {
                bencher.iter(|| assert_eq!(scrape(&mut stream, encodings), size));
            });
        }
        group.finish();
    }
    shutdown.cancel();
    runtime.block_on(bridge.run());
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = forwarding
}
criterion_main!(benches);
