//! User-Agent headers to families: which browser, which system, which kind of device, and whether a machine asks.
//!
//! Families are what a slice can be told apart by ("only Mobile Safari"); versions are not kept, they would cut slices too thin
//! and come nearer to a person. Names are the ones error SDKs use, so that errors and views meet. The tables are read from top to
//! bottom and the first hit counts: a browser claims to be its ancestors, so descendants stand first.

use crate::model::batch::hash_text;

/// What a User-Agent header says. Absent parts are empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// `Mobile Safari`, `Chrome Mobile`, `Firefox`, …
    pub browser: &'static str,
    /// `iOS`, `Android`, `Windows`, `macOS`, `Linux`, `ChromeOS`.
    pub os: &'static str,
    /// `mobile`, `tablet` or `desktop`.
    pub device: &'static str,
    /// A crawler, monitor, preview or script: no person sees the page.
    pub bot: bool,
}

/// One rule of the browser table: the marks that must all be there (empty: none), and what it is called.
type Row = ([&'static str; 2], &'static str);

/// Browsers and in-app browsers, descendants first.
const BROWSERS: &[Row] = &[
    // Apps that show pages themselves: a payment page that fails in one of them is a slice of its own.
    (["FBAN/", ""], "Facebook"),
    (["FBAV/", ""], "Facebook"),
    (["FB_IAB/", ""], "Facebook"),
    (["Instagram ", ""], "Instagram"),
    (["musical_ly", ""], "TikTok"),
    (["BytedanceWebview", ""], "TikTok"),
    (["Snapchat/", ""], "Snapchat"),
    (["[Pinterest/", ""], "Pinterest"),
    (["LinkedInApp", ""], "LinkedIn"),
    (["MicroMessenger/", ""], "WeChat"),
    (["Line/", "Mobile"], "LINE"),
    (["GSA/", ""], "Google App"),
    // Browsers on iOS, all with Safari inside.
    (["CriOS/", ""], "Chrome Mobile iOS"),
    (["FxiOS/", ""], "Firefox iOS"),
    (["EdgiOS/", ""], "Edge Mobile"),
    (["OPiOS/", ""], "Opera Mobile"),
    (["OPT/", "Mobile"], "Opera Mobile"),
    (["DuckDuckGo/", "Mobile"], "DuckDuckGo Mobile"),
    (["DuckDuckGo/", ""], "DuckDuckGo"),
    (["Ddg/", "Mobile"], "DuckDuckGo Mobile"),
    (["Ddg/", ""], "DuckDuckGo"),
    // Browsers with Chromium inside.
    (["SamsungBrowser/", ""], "Samsung Internet"),
    (["EdgA/", ""], "Edge Mobile"),
    (["Edg/", ""], "Edge"),
    (["Edge/", ""], "Edge"),
    (["OPR/", "Mobile"], "Opera Mobile"),
    (["OPR/", ""], "Opera"),
    (["Opera Mini/", ""], "Opera Mini"),
    (["YaBrowser/", ""], "Yandex Browser"),
    (["Vivaldi/", ""], "Vivaldi"),
    (["UCBrowser/", ""], "UC Browser"),
    (["MiuiBrowser/", ""], "MiuiBrowser"),
    (["HuaweiBrowser/", ""], "Huawei Browser"),
    (["Silk/", ""], "Amazon Silk"),
    (["Electron/", ""], "Electron"),
    // Ancestors.
    (["Firefox/", "Android"], "Firefox Mobile"),
    (["Firefox/", ""], "Firefox"),
    (["; wv)", "Chrome/"], "Chrome Mobile WebView"),
    (["Chrome/", "Android"], "Chrome Mobile"),
    (["Chrome/", ""], "Chrome"),
    (["Chromium/", ""], "Chrome"),
    (["Trident/", ""], "IE"),
    (["MSIE ", ""], "IE"),
    (["iPhone", "Safari/"], "Mobile Safari"),
    (["iPad", "Safari/"], "Mobile Safari"),
    (["iPod", "Safari/"], "Mobile Safari"),
    (["iPhone", "AppleWebKit/"], "Mobile Safari UI/WKWebView"),
    (["iPad", "AppleWebKit/"], "Mobile Safari UI/WKWebView"),
    (["Android", "Version/"], "Android"),
    (["Version/", "Safari/"], "Safari"),
    (["Opera/", ""], "Opera"),
];

/// Systems. iOS before macOS ("like Mac OS X"), Android before Linux.
const SYSTEMS: &[Row] = &[
    (["Windows Phone", ""], "Windows Phone"),
    (["iPhone", ""], "iOS"),
    (["iPad", ""], "iOS"),
    (["iPod", ""], "iOS"),
    (["HarmonyOS", ""], "HarmonyOS"),
    (["Tizen", ""], "Tizen"),
    (["Web0S", ""], "webOS"),
    (["Android", ""], "Android"),
    (["okhttp/", ""], "Android"),
    (["Windows", ""], "Windows"),
    (["CrOS ", ""], "ChromeOS"),
    (["Macintosh", ""], "macOS"),
    (["CFNetwork/", "Darwin/"], "iOS"),
    (["Linux", ""], "Linux"),
    (["X11", ""], "Linux"),
];

/// Devices. An Android browser says `Mobile` on phones only; televisions and consoles have no class.
const DEVICES: &[Row] = &[
    (["TV", "Safari/"], ""),
    (["Web0S", ""], ""),
    (["PlayStation", ""], ""),
    (["Xbox", ""], ""),
    (["CrKey", ""], ""),
    (["iPad", ""], "tablet"),
    (["Tablet", ""], "tablet"),
    (["Android", "Mobile"], "mobile"),
    (["Android", "Mobi"], "mobile"),
    (["Dalvik/", "Android"], "mobile"),
    (["Android", "Opera Mini/"], "mobile"),
    (["Android", ""], "tablet"),
    (["iPhone", ""], "mobile"),
    (["iPod", ""], "mobile"),
    (["Mobile", ""], "mobile"),
    (["okhttp/", ""], "mobile"),
    (["CFNetwork/", "Darwin/"], "mobile"),
    (["Windows", ""], "desktop"),
    (["Macintosh", ""], "desktop"),
    (["CrOS ", ""], "desktop"),
    (["X11", ""], "desktop"),
    (["Linux", ""], "desktop"),
];

/// Marks of machines, in lower case. `bot`, `crawl` and `spider` cover most of those that say what they are.
const MACHINES: &[&str] = &[
    // crawlers and previews
    "bot",
    "crawl",
    "spider",
    "slurp",
    "+http",
    "facebookexternalhit",
    "facebookcatalog",
    "externalagent",
    "whatsapp/",
    "preview",
    "mediapartners",
    "feedfetcher",
    "google-",
    "googleother",
    "favicon",
    "lighthouse",
    "pagespeed",
    "gtmetrix",
    "ptst/",
    "archiver",
    "embedly",
    "yahoo pipes",
    "yandeximages",
    "ia_archiver",
    "-user/",
    "screaming frog",
    "dataprovider",
    "scrapy",
    "httrack",
    // browsers without a person
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "jsdom",
    "prerender",
    // scripts and libraries
    "curl/",
    "wget/",
    "python",
    "aiohttp",
    "httpx/",
    "go-http-client",
    "java/",
    "apache-httpclient",
    "libwww",
    "lwp::",
    "perl",
    "ruby",
    "php/",
    "guzzle",
    "axios/",
    "node-fetch",
    "undici",
    "got (",
    "postman",
    "insomnia",
    "httpie/",
    "winhttp",
    "libcurl",
    "apachebench",
    "wrk/",
    "k6/",
    "hey/",
    "siege/",
    "jmeter",
    "vegeta",
    "locust",
    "powershell",
    "reqwest",
    "http_request",
    // monitors and balancers
    "kube-probe",
    "healthcheck",
    "health-check",
    "health check",
    "googlehc",
    "uptime",
    "pingdom",
    "statuscake",
    "site24x7",
    "newrelic",
    "datadog",
    "checkly",
    "hetrix",
    "freshping",
    "blackbox",
    "prometheus",
    "zabbix",
    "nagios",
    "check_http",
    "haproxy",
    "monitor",
    "consul health",
    "alwayson",
    "catchpoint",
    "dynatrace",
    "synthetic",
    "envoy/",
    "traefik",
    // scanners
    "nikto",
    "sqlmap",
    "nmap",
    "masscan",
    "zgrab",
    "censys",
    "nuclei",
    "wpscan",
    "expanse",
    "nessus",
    "openvas",
    "acunetix",
    "scanner",
    "fuzz",
    "dirbuster",
    "shodan",
    "leakix",
];

/// Phones whose names look like machines.
const NO_MACHINES: &[&str] = &["cubot"];

/// Longest header that is looked at; what machines and browsers say of themselves stands well within.
const HEADER_BYTES: usize = 512;

/// Reads a header. Slow against a log's pace (some microseconds): use [`Agents`] for streams.
pub fn parse(header: &str) -> Agent {
    let cut = (0..=header.len().min(HEADER_BYTES)).rev().find(|at| header.is_char_boundary(*at));
    let header = &header[..cut.unwrap_or(0)];
    let first = |table: &[Row]| {
        let hit = table.iter().find(|(marks, _)| marks.iter().all(|mark| header.contains(mark)));
        hit.map_or("", |(_, name)| name)
    };
    let agent = Agent { browser: first(BROWSERS), os: first(SYSTEMS), device: first(DEVICES), bot: is_machine(header) };
    // iPadOS names itself a Macintosh, but for in-app browsers that add `Mobile/`.
    if agent.os == "macOS" && header.contains("Mobile/") {
        return Agent {
            os: "iOS",
            device: "tablet",
            browser: if agent.browser == "Safari" { "Mobile Safari" } else { agent.browser },
            ..agent
        };
    }
    agent
}

fn is_machine(header: &str) -> bool {
    let lower = header.to_ascii_lowercase();
    MACHINES.iter().any(|mark| lower.contains(mark)) && !NO_MACHINES.iter().any(|name| lower.contains(name))
}

/// User agents seen lately: a shop's visitors share a few hundred, so nearly every line is a hit.
#[derive(Clone, Debug)]
pub struct Agents {
    slots: Vec<(u64, Agent)>,
}

/// Slots of [`Agents`]: 120 KiB.
const SLOTS: usize = 2048;

impl Default for Agents {
    fn default() -> Self {
        // The empty header hashes to no slot's key of 0: it is answered before the table is asked.
        Self { slots: vec![(0, Agent::default()); SLOTS] }
    }
}

impl Agents {
    /// The same as [`parse`], from memory where it can be.
    pub fn look_up(&mut self, header: &str) -> Agent {
        if header.is_empty() {
            return Agent::default();
        }
        let hash = hash_text(header);
        let slot = &mut self.slots[hash as usize % SLOTS];
        if slot.0 != hash {
            *slot = (hash, parse(header));
        }
        slot.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Browser, system, device, header.
    const PEOPLE: &[(&str, &str, &str, &str)] = &[
        (
            "Chrome",
            "Windows",
            "desktop",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        ),
        (
            "Chrome",
            "macOS",
            "desktop",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        ),
        (
            "Chrome",
            "Linux",
            "desktop",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        ),
        (
            "Chrome",
            "ChromeOS",
            "desktop",
            "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        ),
        (
            "Chrome Mobile",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
        ),
        (
            "Chrome Mobile",
            "Android",
            "tablet",
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
        ),
        (
            "Chrome Mobile",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
        ),
        (
            "Chrome Mobile WebView",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/AP2A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/128.0.0.0 Mobile Safari/537.36",
        ),
        (
            "Chrome Mobile iOS",
            "iOS",
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0.0.0 Mobile/15E148 Safari/604.1",
        ),
        (
            "Mobile Safari",
            "iOS",
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
        ),
        (
            "Mobile Safari",
            "iOS",
            "tablet",
            "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1",
        ),
        (
            "Mobile Safari UI/WKWebView",
            "iOS",
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        ),
        (
            "Safari",
            "macOS",
            "desktop",
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
        ),
        ("Firefox", "Windows", "desktop", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:131.0) Gecko/20100101 Firefox/131.0"),
        ("Firefox", "Linux", "desktop", "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"),
        ("Firefox Mobile", "Android", "mobile", "Mozilla/5.0 (Android 14; Mobile; rv:131.0) Gecko/131.0 Firefox/131.0"),
        (
            "Firefox iOS",
            "iOS",
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/131.0 Mobile/15E148 Safari/605.1.15",
        ),
        (
            "Edge",
            "Windows",
            "desktop",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
        ),
        (
            "Edge Mobile",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 10; HD1913) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36 EdgA/141.0.0.0",
        ),
        (
            "Samsung Internet",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 14; SM-S918B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36",
        ),
        (
            "Samsung Internet",
            "Android",
            "tablet",
            "Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Safari/537.36",
        ),
        (
            "Opera",
            "Windows",
            "desktop",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36 OPR/114.0.0.0",
        ),
        (
            "Opera Mobile",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 10; VOG-L29) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Mobile Safari/537.36 OPR/76.2.4027",
        ),
        (
            "Facebook",
            "iOS",
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/480.0.0;FBDV/iPhone14,5]",
        ),
        (
            "Instagram",
            "Android",
            "mobile",
            "Mozilla/5.0 (Linux; Android 14; SM-A546B; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/128.0.0.0 Mobile Safari/537.36 Instagram 350.0.0.0 Android",
        ),
        (
            "Google App",
            "iOS",
            "mobile",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) GSA/340.0 Mobile/15E148 Safari/604.1",
        ),
        ("IE", "Windows", "desktop", "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"),
        ("", "Android", "mobile", "okhttp/4.12.0"),
        ("", "iOS", "mobile", "ShopApp/812 CFNetwork/1568.100.1 Darwin/24.0.0"),
        ("", "", "", "Mozilla/5.0"),
        ("", "", "", ""),
    ];

    const MACHINE_AGENTS: &[&str] = &[
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116.0.0.0 Safari/537.36",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "WhatsApp/2.24.20.89 A",
        "curl/8.5.0",
        "Wget/1.21.4",
        "python-requests/2.32.3",
        "Go-http-client/1.1",
        "Java/17.0.2",
        "kube-probe/1.31",
        "ELB-HealthChecker/2.0",
        "GoogleHC/1.0",
        "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
        "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
        "Amazon-Route53-Health-Check-Service (ref 0a1b; report http://amzn.to/1vsZADi)",
        "Mozilla/5.00 (Nikto/2.5.0) (Evasions:None) (Test:Port Check)",
    ];

    #[test]
    fn people_are_named_by_browser_system_and_device() {
        for (browser, os, device, header) in PEOPLE {
            assert_eq!(parse(header), Agent { browser, os, device, bot: false }, "{header}");
        }
    }

    #[test]
    fn machines_are_known() {
        for header in MACHINE_AGENTS {
            assert!(parse(header).bot, "{header}");
        }
    }

    #[test]
    fn memory_changes_nothing() {
        let mut agents = Agents::default();
        for _ in 0..2 {
            for header in PEOPLE.iter().map(|row| row.3).chain(MACHINE_AGENTS.iter().copied()) {
                assert_eq!(agents.look_up(header), parse(header), "{header}");
            }
        }
    }

    #[test]
    fn a_long_header_is_cut_between_characters() {
        assert!(!parse(&"é".repeat(4000)).bot);
        assert!(parse(&format!("x{}", "curl/ é".repeat(900))).bot);
    }
}
