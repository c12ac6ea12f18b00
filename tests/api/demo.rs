//! What the demo and the README tell people to try.

use crate::support::{Answer, Client, Process, Server, free_address};

#[test]
fn each_of_the_ten_requests_of_the_demo_finds_something() {
    let address = free_address().to_string();
    let demo = Process::start(["demo", "--listen", &address]);
    let said = demo.lines_until("Ctrl-C");
    let urls: Vec<&str> =
        said.iter().filter_map(|line| line.trim().strip_prefix("curl '")?.strip_suffix('\'')).collect();
    assert_eq!(urls.len(), 10, "{said:#?}");
    let client = Client::new(format!("http://{address}/fhir"));
    for url in urls {
        assert!(url.starts_with(client.base()), "{url}");
        finds_something(&client.get(url).expect(200));
    }
    demo.terminate();
    assert!(demo.wait().success(), "{}", demo.said());
}

/// A Bundle has a match; any other answer is a resource.
fn finds_something(answer: &Answer) {
    match answer.at("/resourceType").as_str() {
        Some("Bundle") if answer.at("/type") == "searchset" => {
            let entries = answer.at("/entry").as_array().cloned().unwrap_or_default();
            assert!(entries.iter().any(|entry| entry["search"]["mode"] == "match"), "{answer}");
        }
        Some("Bundle") => assert!(!answer.resources().is_empty(), "{answer}"),
        Some("OperationOutcome") | None => panic!("{answer}"),
        Some(_) => {}
    }
}

#[test]
fn the_first_requests_of_the_readme_work_as_written() {
    let server = Server::start();
    let commands = commands(include_str!("../../README.md"));
    assert!(commands.len() >= 4, "{commands:#?}");
    let answers: Vec<Answer> = commands.iter().map(|command| curl(&server, command)).collect();
    assert_eq!(answers[0].at("/resourceType"), "CapabilityStatement");
    assert_eq!(answers[2].status(), 201);
    // What was created is found again by the request after it.
    assert_eq!(answers[3].ids(), [answers[2].id()]);
}

/// The commands that begin with `curl` and ask the FHIR base, continued lines put together. Getting a token is told there too: it
/// needs a guarded server and a client's key.
fn commands(page: &str) -> Vec<String> {
    let page = page.replace("\\\n", " ");
    page.lines().filter(|line| line.starts_with("curl ") && line.contains("$base")).map(str::to_owned).collect()
}

/// Sends what curl would send; fails where that is no success.
fn curl(server: &Server, command: &str) -> Answer {
    let (mut url, mut headers, mut body) = (None, Vec::new(), None);
    let mut words = words(&command.replace("$base", server.base())).into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" | "-s" => {}
            "-H" => headers.push(words.next().unwrap()),
            "-d" => body = words.next(),
            _ => url = Some(word),
        }
    }
    let url = url.unwrap();
    let mut request = if body.is_some() { server.post(&url) } else { server.get(&url) };
    let mut content_type = String::from("application/x-www-form-urlencoded");
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        if name.eq_ignore_ascii_case("content-type") {
            value.clone_into(&mut content_type);
        } else {
            request = request.header(name, value);
        }
    }
    if let Some(body) = body {
        request = request.body(&content_type, body);
    }
    let answer = request.send();
    assert!(matches!(answer.status(), 200 | 201), "{command}: {answer}");
    answer
}

/// The words of a command line, with quotes and a comment at its end.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for letter in command.chars() {
        let word = words.last_mut().unwrap();
        match (quote, letter) {
            (Some(open), _) if open == letter => quote = None,
            (None, '\'' | '"') => quote = Some(letter),
            (None, '#') if word.is_empty() => break,
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(String::new()),
            _ => word.push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
