//! The installed page: its manifest, a start without its server, and a new version.

use std::fs;
use std::path::Path;

use joey_tests::browser::{Browser, page_arguments};
use joey_tests::{Nginx, Relay, eventually, eventually_is};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::page::{relay, sample_data, send};

/// A copy of the page that can be replaced by another version.
fn copy_of_page() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder can be created");
    for file in fs::read_dir(&page_arguments()[1]).expect("the page is a folder") {
        let file = file.expect("the folder can be read").path();
        fs::copy(&file, folder.path().join(file.file_name().expect("a file has a name"))).expect("it can be copied");
    }
    folder
}

/// The hash in the name of the page's program.
fn hash_in(folder: &Path) -> String {
    let index = fs::read_to_string(folder.join("index.html")).expect("the page has an index");
    let rest = index.split("joey-ui-").nth(1).expect("the index names the program");
    rest.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// Replaces the page by one with other file names, as another build does. The old files are gone.
fn deploy_other_version(folder: &Path, hash: &str) {
    let old = hash_in(folder);
    for file in fs::read_dir(folder).expect("the folder can be read") {
        let file = file.expect("the folder can be read").path();
        let name = file.file_name().and_then(|name| name.to_str()).expect("names are text").to_owned();
        if name.contains(&old) {
            fs::rename(&file, folder.join(name.replace(&old, hash))).expect("it can be renamed");
        }
        if name == "index.html" {
            let text = fs::read_to_string(&file).expect("it is text");
            fs::write(&file, text.replace(&old, hash)).expect("it can be written");
        }
    }
}

/// The program that runs in the page.
fn program(browser: &Browser) -> String {
    browser.evaluate_text("return document.querySelector('link[rel=modulepreload]')?.href ?? ''", &[])
}

/// Waits until the page with this hash is stored for a start without its server.
fn wait_until_stored(browser: &Browser, hash: &str) {
    eventually("the page is stored", || {
        let script = "
            window.stored ??= '';
            (async () => {
                const names = await caches.keys();
                const texts = await Promise.all(names.map(async name => {
                    const page = await (await caches.open(name)).match(new URL('./', location.href).href);
                    return page ? await page.text() : '';
                }));
                window.stored = texts.join();
            })();
            return window.stored";
        browser.evaluate_text(script, &[]).contains(hash).then_some(())
    });
}

#[test]
fn the_page_can_be_installed() {
    let relay = relay(&[]);
    let nginx = Nginx::start(&format!("location /a/b/ {{ proxy_pass http://{}/; }}", relay.http));
    let browser = Browser::start();
    browser.command("Page.enable", json!({}));
    for address in [format!("http://{}/", relay.http), format!("http://{}/a/b/", nginx.address)] {
        browser.open(&address);
        eventually("the page", || (browser.count("header.bar") > 0).then_some(()));
        let manifest = browser.command_result("Page.getAppManifest", json!({}));
        assert_eq!(manifest["errors"], json!([]), "{address}");
        let data: Value = serde_json::from_str(manifest["data"].as_str().unwrap_or_default()).expect("it is JSON");
        assert_eq!((&data["name"], &data["display"]), (&json!("Joey"), &json!("standalone")));
        assert_eq!(manifest["url"], json!(format!("{address}manifest.webmanifest")));
        // Private windows, as in tests, cannot install anything.
        let errors = eventually("the icons are read", || {
            let answer = browser.command_result("Page.getInstallabilityErrors", json!({}));
            answer["installabilityErrors"].as_array().cloned()
        });
        let errors = errors.iter().filter(|error| error["errorId"] != "in-incognito").collect::<Vec<_>>();
        assert!(errors.is_empty(), "{address}: {errors:?}");
    }
    assert_eq!(browser.console_errors(), [] as [String; 0]);
}

#[test]
fn a_new_version_is_announced_and_the_last_one_starts_without_its_server() {
    let folder = copy_of_page();
    let first = hash_in(folder.path());
    let mut relay = Relay::start_with(&["--ui-dir", &folder.path().display().to_string()]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    let address = format!("http://{}/#/applications/App/dashboard", relay.http);
    browser.open(&address);
    wait_until_stored(&browser, &first);
    assert!(program(&browser).contains(&first));
    assert_eq!(browser.count("[data-testid=update]"), 0);

    let second = "0123456789abcdef";
    deploy_other_version(folder.path(), second);
    eventually("the notice", || {
        let _ = browser.evaluate("dispatchEvent(new Event('visibilitychange'))", &[]);
        (browser.count("[data-testid=update]") > 0).then_some(())
    });
    assert_eq!(browser.console_errors(), [] as [String; 0]);
    browser.save_screenshot("update");
    browser.click("[data-testid=update] button");
    // The files of the first version are gone from the server. None of them is mixed with those of the second one.
    eventually("the second version", || program(&browser).contains(second).then_some(()));
    eventually("numbers", || (browser.count("[data-subject=Computation] td .n") > 0).then_some(()));
    assert_eq!(browser.count("[data-testid=update]"), 0);
    wait_until_stored(&browser, second);
    assert_eq!(browser.console_errors(), [] as [String; 0]);

    relay.kill();
    browser.open(&format!("http://{}/?again#/", relay.http));
    eventually("the page starts", || (browser.count("header.bar") > 0).then_some(()));
    assert!(program(&browser).contains(second));
    eventually("it says why it is empty", || browser.text("main").contains("No relay answers").then_some(()));
    browser.save_screenshot("offline");
}

#[test]
fn a_page_that_nobody_looks_at_updates_itself_unless_it_is_paused() {
    let folder = copy_of_page();
    let relay = Relay::start_with(&["--ui-dir", &folder.path().display().to_string()]);
    let oracle = sample_data("App");
    let _open = send(&relay, &oracle);
    let browser = Browser::start();
    browser.open(&format!("http://{}/#/applications/App/dashboard", relay.http));
    eventually("numbers", || (browser.count("[data-subject=Computation] td .n") > 0).then_some(()));
    browser.click("[data-testid=pause]");
    deploy_other_version(folder.path(), "0123456789abcdef");
    eventually("the notice", || {
        let _ = browser.evaluate("dispatchEvent(new Event('visibilitychange'))", &[]);
        (browser.count("[data-testid=update]") > 0).then_some(())
    });
    browser.hide();
    browser.show();
    assert!(!program(&browser).contains("0123456789abcdef"), "a paused page stays");
    browser.click("[data-testid=pause]");
    eventually_is("live", &"false".to_owned(), || browser.attribute("[data-testid=pause]", "aria-pressed"));
    browser.hide();
    browser.show();
    eventually("the new version", || program(&browser).contains("0123456789abcdef").then_some(()));
}
