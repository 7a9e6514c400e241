//! Connecting to a relay: over HTTP without WebSockets, and to another relay when one is down.

use joey_tests::browser::Browser;
use joey_tests::nginx::Nginx;
use joey_tests::oracle::ViewId;
use joey_tests::proxy::Proxy;
use joey_tests::{Frame, Nats, Oracle, Relay, S, eventually, eventually_is, joey};

use crate::page::{now_s, relay, sample_data, send, wait_for_rows};

const TOTALS: [&str; 4] = ["start-to-end", "node-ingress-egress", "computation", "gc-pause"];

fn wait_for_status(browser: &Browser, words: &str) {
    eventually_is("the status", &words.to_owned(), || browser.text("[data-testid=status]"));
}

#[test]
fn without_websockets_the_page_falls_back_to_http_and_shows_it() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let stats = eventually("the newest period is complete", || {
        let stats = relay.stats("App");
        (stats["through_ns"].as_u64() == Some(oracle.clock_ns())).then_some(stats)
    });
    oracle.check(&stats);
    let proxy = Proxy::new(relay.http);
    proxy.reject_upgrades();
    let browser = Browser::start();
    browser.open(&format!("http://{}/#/", proxy.address));
    wait_for_status(&browser, "connected over HTTP");
    eventually_is("applications", &1, || browser.count("[data-testid=application]"));
    // The page requests more data while the response continues.
    browser.go_to("/applications/App/dashboard");
    let rows = || wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, |id| TOTALS.contains(&id.0.as_str()));
    rows();
    proxy.disconnect();
    eventually_is("viewers", &0, || relay.metric("joey_viewers"));
    proxy.restore();
    wait_for_status(&browser, "connected over HTTP");
    rows();
    assert_eq!(relay.metric("joey_gaps_total"), 0);
}

#[test]
fn when_a_relay_dies_the_page_switches_to_another_and_shows_the_gap() {
    let host = relay(&[]);
    let page = format!("http://{}", host.http);
    let other = Relay::start_with(&["--origin", &page]);
    let mut first = Relay::start_with(&["--origin", &page, "--advertise", &format!("ws://{}", other.http)]);
    let oracle = sample_data("App");
    let _open = send(&first, &oracle);
    let browser = Browser::start();
    browser.open(&format!("{page}/?relay={}#/applications/App/dashboard", first.http));
    wait_for_status(&browser, "connected");
    wait_for_rows(&browser, "[data-testid=row]", &oracle, 300, |id| TOTALS.contains(&id.0.as_str()));
    let elsewhere = Frame::new("App", "computation", ["Orders", "initializer", "Elsewhere"], now_s()).with(&[5]);
    let _open_too = send(&other, &Oracle::new(&[elsewhere]));
    first.kill();
    eventually_is("rows of the other relay", &1, || browser.count("[data-testid=row][data-name=Elsewhere]"));
    wait_for_status(&browser, "connected");
    eventually("the gap is shown", || browser.text(".notes").contains("what it alone held").then_some(()));
    browser.click("[data-testid=status]");
    let address = other.http.to_string();
    eventually("the address is shown", || browser.text(".facts").contains(&address).then_some(()));
}

/// The frames of `all` whose periods end by `until_s`, and the others.
fn split(all: &Oracle, until_s: u64) -> (Oracle, Oracle) {
    let (before, after) = all.frames.iter().cloned().partition(|frame| frame.end_ns <= until_s * S);
    (Oracle { frames: before }, Oracle { frames: after })
}

#[test]
fn when_a_relay_of_a_cluster_dies_the_page_switches_to_an_advertised_relay_without_a_gap() {
    let nats = Nats::start();
    let mut first = relay(&["--nats", &nats.url()]);
    let page = format!("http://{}", first.http);
    let mut second = Relay::start_with(&["--nats", &nats.url(), "--origin", &page]);
    let there = format!("http://{}", second.http);
    second.restart_with(&["--advertise", &there]);
    for relay in [&first, &second] {
        relay.wait_for_relays(2);
    }
    // The second relay ingests everything in three parts: before, while the page is disconnected, and afterwards.
    let all = sample_data("App");
    let end_s = all.clock_ns() / S;
    let (early, rest) = split(&all, end_s - 60);
    let (meanwhile, late) = split(&rest, end_s - 20);
    let _open = send(&second, &early);
    let browser = Browser::start();
    browser.open(&format!("{page}/#/"));
    wait_for_status(&browser, "connected");
    eventually_is("number of viewers", &"1 watching".to_owned(), || {
        browser.text("[data-testid=application] .label .of")
    });
    let totals = |id: &ViewId| TOTALS.contains(&id.0.as_str());
    browser.go_to("/applications/App/dashboard");
    wait_for_rows(&browser, "[data-testid=row]", &early, 300, totals);
    first.kill();
    let _open_too = send(&second, &meanwhile);
    let so_far = Oracle { frames: [early.frames, meanwhile.frames].concat() };
    wait_for_rows(&browser, "[data-testid=row]", &so_far, 300, totals);
    wait_for_status(&browser, "connected");
    let _open_still = send(&second, &late);
    wait_for_rows(&browser, "[data-testid=row]", &all, 300, totals);
    assert_eq!(browser.count(".note.lost"), 0, "nothing is missing, and the page shows no gap");
    assert_eq!((second.metric("joey_viewers"), second.metric("joey_gaps_total")), (1, 0));
    browser.click("[data-testid=status]");
    let address = second.http.to_string();
    eventually("the address is shown", || browser.text(".facts").contains(&address).then_some(()));
    assert!(browser.text(".facts").contains("0 updates since"), "{}", browser.text(".facts"));
}

/// The nginx configuration that serves a relay at `location`, as in `docs/operating.md`.
fn location(location: &str, relay: &Relay) -> String {
    format!(
        "location {location} {{ proxy_pass http://{}/; proxy_http_version 1.1; proxy_set_header Host $http_host; \
         proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\"; proxy_read_timeout 75s; }}",
        relay.http
    )
}

#[test]
fn behind_nginx_under_a_path_the_page_finds_its_relay() {
    let relay = relay(&[]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let nginx = Nginx::start(&[location("/joey/", &relay), location("/a/b/", &relay)].concat());
    let rows = |browser: &Browser| {
        wait_for_status(browser, "connected");
        browser.go_to("/applications/App/dashboard");
        wait_for_rows(browser, "[data-testid=row]", &oracle, 300, |id| TOTALS.contains(&id.0.as_str()));
    };
    let browser = Browser::start();
    for path in ["/joey/", "/joey/index.html", "/a/b/"] {
        browser.open(&format!("http://{}{path}", nginx.address));
        rows(&browser);
        browser.click("[data-testid=status]");
        let directory = path.trim_end_matches("index.html");
        let there = format!("ws://{}{directory}ws", nginx.address);
        eventually("the address is shown", || browser.text(".facts").contains(&there).then_some(()));
    }
    // A page from another origin with the path in its address.
    let other = crate::page::relay(&[]);
    let allowed = format!("http://{}", other.http);
    let mut relay = relay;
    relay.restart_with(&["--origin", &allowed]);
    let _open = send(&relay, &oracle);
    for written in ["/joey/", "/joey", "/joey/ws"] {
        browser.open(&format!("{allowed}/?relay={}{written}", nginx.address));
        rows(&browser);
    }
    // The command line accepts the same addresses. Behind a proxy without upgrades it falls back to a stream.
    let plain = Nginx::start(&format!("location /joey/ {{ proxy_pass http://{}/; }}", relay.http));
    for at in [nginx.address, plain.address] {
        let done = joey(&["stats", "App", "--once", "--relay", &format!("http://{at}/joey/")]);
        assert_eq!(done.code, 0, "{}", done.err);
    }
    browser.open(&format!("{allowed}/?relay={}/joey/", plain.address));
    wait_for_status(&browser, "connected over HTTP");
}

#[test]
fn a_page_whose_origin_is_rejected_shows_why_and_connects_once_it_is_allowed() {
    let mut relay = relay(&[]);
    let page = format!("http://joey.localhost:{}", relay.http.port());
    let browser = Browser::start();
    browser.open(&format!("{page}/"));
    let sentence = format!("start it with --origin {page} ");
    eventually("the reason", || browser.text(".notes").contains(&sentence).then_some(()));
    eventually("the status", || browser.text("[data-testid=status]").contains("refused").then_some(()));
    browser.save_screenshot("refused");
    relay.restart_with(&["--origin", &page]);
    // The page tries a WebSocket and a stream in turn; the relay may be back in time for either.
    let is_connected = || browser.text("[data-testid=status]").starts_with("connected").then_some(());
    eventually("the connection", is_connected);
    assert_eq!(browser.text(".notes"), "");
}

#[test]
fn an_invalid_relay_address_is_shown() {
    let relay = relay(&[]);
    let browser = Browser::start();
    browser.open(&format!("http://{}/?relay=ftp://nowhere&relay={}", relay.http, relay.http));
    wait_for_status(&browser, "connected");
    assert!(
        browser.text(".notes").contains("“ftp://nowhere” is not the address of a relay"),
        "{}",
        browser.text(".notes")
    );
}
