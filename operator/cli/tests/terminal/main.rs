//! The live table of `top` as a person sees it: the program on a pseudo-terminal, against an API
//! server and an operator on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic freely"
)]

mod screen;
mod server;

use rustix::process::Signal;
use screen::Screen;

#[test]
fn keys_scroll_sort_pause_and_end_the_table_and_a_resize_draws_it_again() {
    let server = server::start(40);
    let mut screen = Screen::start(&server, 24, &[]);
    let first = 3;
    screen.until("the table begins at its first row", |seen| {
        seen.is_own()
            && seen.row(0).contains("sorted by name")
            && seen.row(first).starts_with("orders  q01 ")
            && seen.row(23).starts_with("--- lines 1 to 20 of 40")
    });

    screen.press("j");
    screen.until("it scrolls by a line", |seen| {
        seen.row(first).starts_with("orders  q02 ")
    });
    screen.press("\x1b[6~");
    screen.until("it scrolls by a screen", |seen| {
        seen.row(first).starts_with("orders  q21 ")
    });
    screen.press("\x1b[A");
    screen.until("it scrolls back", |seen| {
        seen.row(first).starts_with("orders  q20 ")
    });
    screen.press("G");
    screen.until("it scrolls to its end", |seen| {
        seen.row(22).starts_with("orders  q40 ")
    });

    screen.press("b");
    screen.until("the largest backlog is first", |seen| {
        seen.row(0).contains("sorted by backlog") && seen.row(first).starts_with("orders  q40 ")
    });
    screen.press("n");
    screen.until("the first name is first", |seen| {
        seen.row(first).starts_with("orders  q01 ")
    });

    screen.resize(60);
    screen.until("a larger screen shows all", |seen| {
        seen.row(first + 39).starts_with("orders  q40 ") && !seen.text().contains("--- lines")
    });
    screen.press("?");
    screen.until("it shows its keys", |seen| {
        seen.text().contains("show the keys")
    });
    screen.press("x");
    screen.until("it goes back", |seen| {
        seen.row(first).starts_with("orders  q01 ")
    });
    screen.press(" ");
    screen.until("it is paused", |seen| seen.row(0).contains("paused"));
    let reads = server.reads();
    screen.press("r");
    screen.until("it reads when asked", |_| server.reads() > reads);

    screen.press("q");
    assert_eq!(screen.end(), Some(0));
    screen.assert_restored();
}

#[test]
fn every_way_out_restores_the_terminal() {
    let server = server::start(2);
    let start = || {
        let mut screen = Screen::start(&server, 24, &[]);
        screen.until("the table is there", |seen| {
            seen.is_own() && seen.text().contains("q02")
        });
        screen
    };
    for key in ["\x1b", "\x03", "q"] {
        let mut screen = start();
        screen.press(key);
        assert_eq!(screen.end(), Some(0), "{key:?}");
        screen.assert_restored();
    }
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut screen = start();
        screen.kill(signal);
        assert_eq!(screen.end(), Some(0), "{signal:?}");
        screen.assert_restored();
    }
}

#[test]
fn colors_are_on_unless_the_environment_refuses_them() {
    let server = server::start(2);
    for (variables, colored) in [(&[] as &[_], true), (&[("NO_COLOR", "1")], false)] {
        let mut screen = Screen::start(&server, 24, variables);
        screen.until("the table is there", |seen| seen.text().contains("q02"));
        // The wait of the first queue is over its target.
        assert_eq!(screen.is_colored(3, "60s"), colored, "{variables:?}");
        screen.press("q");
        assert_eq!(screen.end(), Some(0));
    }
}

#[test]
fn a_terminal_without_a_screen_gets_the_table_once() {
    let server = server::start(2);
    let mut screen = Screen::start(&server, 24, &[("TERM", "dumb")]);
    screen.until("the table is there", |seen| seen.text().contains("q02"));
    assert_eq!(screen.end(), Some(0));
    screen.assert_restored();
    assert!(screen.text().starts_with("FLEET "), "{}", screen.text());
}
