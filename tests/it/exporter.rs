//! What becomes of a scrape when the exporter misbehaves. Never may a part pass for the whole.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::exporters::{Exporter, Manner, answer};
use crate::http::{Scraped, Scraper, scrape, scrape_within};
use crate::world::{Device, Monitor, World};

/// A device with one exporter of this manner, and a monitor that is connected to it.
async fn setup(world: &World, manner: Manner) -> (Exporter, Device, Monitor) {
    let exporter = Exporter::start(manner).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    (exporter, device, monitor)
}

async fn one(world: &World, manner: Manner) -> Scraped {
    let (_exporter, _device, monitor) = setup(world, manner).await;
    scrape(&monitor.address("backpack", "app")).await
}

pub async fn down(world: &World) {
    let (exporter, _device, monitor) = setup(world, Manner::Good("a 1\n".into())).await;
    let address = monitor.address("backpack", "app");
    assert_eq!(scrape(&address).await.text(), "a 1\n");
    drop(exporter);
    let scraped = scrape(&address).await;
    assert_eq!((scraped.status, scraped.reason.contains("app")), (502, true), "{scraped:?}");
    assert!(scraped.reason.contains("refused"), "{}", scraped.reason);
}

pub async fn hangs_before_the_head(world: &World) {
    let (_exporter, _device, monitor) = setup(world, Manner::SaysAndHangs(Vec::new())).await;
    let scraped = scrape_within(&monitor.address("backpack", "app"), "3").await;
    assert_eq!(scraped.status, 504, "{scraped:?}");
    // Half a second is kept for the answer to arrive within what Prometheus waits.
    assert!(scraped.took < Duration::from_secs(3), "{:?}", scraped.took);
}

pub async fn hangs_in_the_body(world: &World) {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n".to_vec();
    let (exporter, _device, monitor) = setup(world, Manner::SaysAndHangs(half)).await;
    let scraped = scrape_within(&monitor.address("backpack", "app"), "3").await;
    assert!(!scraped.complete, "{scraped:?}");
    assert!(scraped.took < Duration::from_secs(3), "{:?}", scraped.took);
    world
        .until("the exporter is let go", || exporter.open.load(std::sync::atomic::Ordering::SeqCst) == 0)
        .await;
}

pub async fn dies_in_the_body(world: &World) {
    let with_length = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na 1\n".to_vec();
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n".to_vec();
    let until_close = b"HTTP/1.0 200 OK\r\n\r\na 1\n".to_vec();
    for manner in [
        Manner::Says(with_length.clone()),
        Manner::Says(chunked.clone()),
        Manner::SaysAndResets(with_length),
        Manner::SaysAndResets(chunked),
        Manner::SaysAndResets(until_close),
    ] {
        let scraped = one(world, manner).await;
        assert!(!scraped.complete || scraped.status == 502, "{scraped:?}");
    }
}

pub async fn to_who_speaks_http_1_0(world: &World) {
    let chunked =
        |end: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n{end}");
    for (end, status, body) in [("", "502", None), ("0\r\n\r\n", "200", Some("a 1\n"))] {
        let (_exporter, _device, monitor) = setup(world, Manner::Says(chunked(end).into_bytes())).await;
        let address = monitor.address("backpack", "app");
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said.split(' ').nth(1), Some(status), "{said}");
        // Its end is that of the connection, so nothing else may tell a whole from a part.
        assert!(
            body.is_none_or(|body| said.contains("content-length: 4\r\n") && said.ends_with(body)),
            "{said}"
        );
    }
}

pub async fn sends_too_much(world: &World) {
    let too_much = 200 << 20;
    let scraped = one(world, Manner::Floods { bytes: too_much, length: true }).await;
    assert_eq!(scraped.status, 502, "{scraped:?}");
    assert!(scraped.reason.contains("max_body"), "{}", scraped.reason);

    // Without a length it is found out on the way, here after 1 MiB.
    let exporter = Exporter::start(Manner::Floods { bytes: 4 << 20, length: false }).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let more = "[scrape]\nmax_body = \"1MiB\"\n";
    let monitor = world.monitor_with(more, &[("backpack", &device, &["app"])]).await;
    monitor.connected("backpack").await;
    let scraped = scrape_within(&monitor.address("backpack", "app"), "30").await;
    assert!(!scraped.complete && scraped.body.len() <= 1 << 20, "{} bytes", scraped.body.len());
    let metrics = monitor.metrics().await;
    assert!(
        metrics.contains("scrape_failures_total{target=\"backpack\",reason=\"too_large\"} 1\n"),
        "{metrics}"
    );
}

pub async fn sends_garbage(world: &World) {
    // A length beside chunked framing is not the body's, by either way to the exporter.
    let both = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n8\r\na 1\nb 2\n\r\n0\r\n\r\n";
    let exporter = Exporter::start(Manner::Says(both.to_vec())).await;
    let device = world.device(&[("app", exporter.address)]).await;
    let direct = format!(
        "{}[[target.exporter]]\nname = \"direct\"\nlisten = \"127.0.0.1:0\"\naddress = \"{}\"\n",
        world.target("backpack", &device, "", &["app"]),
        exporter.address,
    );
    let monitor = world.monitor_of("", &direct).await;
    monitor.connected("backpack").await;
    for name in ["app", "direct"] {
        let scraped = scrape(&monitor.address("backpack", name)).await;
        assert_eq!((scraped.status, scraped.complete, scraped.text()), (200, true, "a 1\nb 2\n"), "{name}");
    }
    for garbage in [&b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..], b"\0\x01\x02\r\n\r\n", b"HTTP/1.1 2000 what\r\n\r\n"]
    {
        let scraped = one(world, Manner::Says(garbage.to_vec())).await;
        assert_eq!(scraped.status, 502, "{scraped:?}");
    }
    let smuggled = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\na 1\n\n".to_vec();
    assert_eq!(one(world, Manner::Says(smuggled)).await.status, 502);
    let mut fields = b"HTTP/1.1 200 OK\r\n".to_vec();
    for n in 0..100_000 {
        fields.extend_from_slice(format!("x-{n}: 1\r\n").as_bytes());
    }
    fields.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    assert_eq!(one(world, Manner::Says(fields)).await.status, 502);
}

pub async fn closes_without_length(world: &World) {
    let scraped = one(world, Manner::Says(b"HTTP/1.0 200 OK\r\n\r\na 1\nb 2\n".to_vec())).await;
    assert!(scraped.complete, "{scraped:?}");
    assert_eq!((scraped.status, scraped.text()), (200, "a 1\nb 2\n"));
}

pub async fn redirects(world: &World) {
    let to = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:22/\r\nContent-Length: 0\r\n\r\n".to_vec();
    let scraped = one(world, Manner::Says(to)).await;
    assert_eq!((scraped.status, scraped.header("location")), (502, None), "{scraped:?}");
    assert!(scraped.reason.contains("redirect"), "{}", scraped.reason);
    // Other statuses are the exporter's to give.
    let teapot =
        String::from_utf8(answer("no\n")).unwrap().replace("200 OK", "418 I'm a teapot").into_bytes();
    assert_eq!(one(world, Manner::Says(teapot)).await.status, 418);
}

pub async fn a_slow_one_delays_no_other(world: &World) {
    let slow = Exporter::start(Manner::Slow(Duration::from_secs(4), "slow 1\n".into())).await;
    let quick = Exporter::start(Manner::Good("quick 1\n".into())).await;
    let device = world.device(&[("slow", slow.address), ("quick", quick.address)]).await;
    let monitor = world.monitor(&[("backpack", &device, &["slow", "quick"])]).await;
    monitor.connected("backpack").await;
    let (slow, quick) = (monitor.address("backpack", "slow"), monitor.address("backpack", "quick"));
    let slow = tokio::spawn(async move { scrape(&slow).await });
    let mut good = 0;
    while !slow.is_finished() {
        assert_eq!(scrape(&quick).await.text(), "quick 1\n");
        good += 1;
    }
    assert_eq!(slow.await.unwrap().text(), "slow 1\n");
    assert!(good >= 3, "{good} scrapes went through beside the slow one");
}

pub async fn its_password_stays_on_the_device(world: &World) {
    let echo = Exporter::start(Manner::Echoes).await;
    let folder = world.folder();
    let (password, key) = (folder.join("app.password"), folder.join("app.key"));
    onionscrape::files::replace_private(&password, b"open sesame\n").unwrap();
    onionscrape::files::replace_private(&key, b"first\n").unwrap();
    let text = format!(
        "[ssh]\nkeys = [{:?}]\n[[exporter]]\nname = \"app\"\naddress = \"{}\"\n\
         basic_auth = {{ username = \"Aladdin\", password_file = \"app.password\" }}\n\
         headers = {{ X-Scope = \"device\", X-Api-Key = {{ file = \"app.key\" }} }}\n\
         [[exporter]]\nname = \"open\"\naddress = \"{}\"\n",
        world.key().public_line(),
        echo.address,
        echo.address
    );
    let device = world.device_in(folder, &text, &[]).await;
    let monitor = world.monitor(&[("backpack", &device, &["app", "open"])]).await;
    monitor.connected("backpack").await;
    let passed = [("authorization", "Bearer of-prometheus"), ("x-scope", "monitor"), ("x-kept", "yes")];
    let scraped = async |name: &str| {
        Scraper::connect(&monitor.address("backpack", name)).await.get("/metrics", &passed).await
    };

    let seen = scraped("app").await;
    // The head as the exporter got it, in small letters.
    for line in [
        "authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq==",
        "x-scope: device",
        "x-api-key: first",
        "x-kept: yes",
    ] {
        assert!(seen.text().contains(&format!("# {line}\n")), "{line} in {}", seen.text());
    }
    assert!(!seen.text().contains("of-prometheus"), "{}", seen.text());
    let seen = scraped("open").await;
    assert!(seen.text().contains("# authorization: bearer of-prometheus\n"), "{}", seen.text());

    onionscrape::files::replace_private(&key, b"second\n").unwrap();
    assert!(scraped("app").await.text().contains("# x-api-key: second\n"), "read again");
    std::fs::remove_file(&password).unwrap();
    let failed = scraped("app").await;
    assert_eq!(
        (failed.status, failed.reason.as_str()),
        (502, "exporter app has a password or header file that cannot be used")
    );
}
