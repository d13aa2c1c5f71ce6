//! `completion`: scripts that complete the commands and flags in a shell. Pure.

use clap::{Command, ValueEnum};
use clap_complete::{Shell, generate};

/// The text below the flags in `--help`.
pub const HELP: &str = "\
bash:        kubectl-tqw completion bash > /etc/bash_completion.d/kubectl-tqw
zsh:         kubectl-tqw completion zsh > \"${fpath[1]}/_kubectl-tqw\"
fish:        kubectl-tqw completion fish > ~/.config/fish/completions/kubectl-tqw.fish
powershell:  kubectl-tqw completion powershell >> $PROFILE

For `kubectl tqw`, kubectl completes in every shell if the program kubectl_complete-tqw is in the
PATH. It needs bash:
    kubectl tqw completion kubectl > /usr/local/bin/kubectl_complete-tqw
    chmod +x /usr/local/bin/kubectl_complete-tqw";

/// Called by kubectl with the words after `kubectl tqw`, the last of which may be empty. Answers
/// with one candidate per line. Outside of a completion, bash complains about `compopt`.
const KUBECTL: &str = r#"#!/usr/bin/env bash
# Completes `kubectl tqw`. kubectl runs this as kubectl_complete-tqw, from the PATH.
source <(kubectl-tqw completion bash)
COMP_WORDS=(kubectl-tqw "$@")
COMP_CWORD=$#
_kubectl-tqw kubectl-tqw "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
for candidate in "${COMPREPLY[@]}"; do
    case "$candidate" in
        "<"* | "["*) ;; # the name of an argument
        *) echo "$candidate" ;;
    esac
done
"#;

/// What completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Completer {
    /// Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
    /// PowerShell.
    Powershell,
    /// Kubectl, for `kubectl tqw`, in any shell.
    Kubectl,
}

/// The script for a program with this command line.
pub fn script(completer: Completer, mut program: Command) -> String {
    let name = program.get_name().to_owned();
    let shell = match completer {
        Completer::Bash => Shell::Bash,
        Completer::Zsh => Shell::Zsh,
        Completer::Fish => Shell::Fish,
        Completer::Powershell => Shell::PowerShell,
        Completer::Kubectl => return KUBECTL.to_owned(),
    };
    let mut generated = |name: &str| {
        let mut script = Vec::new();
        generate(shell, &mut program, name, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    };
    if shell != Shell::Bash {
        return generated(&name);
    }
    // The script for bash of clap_complete 4.6.12 finds no flags of a command if the program's name
    // has a hyphen.
    let plain = name.replace('-', "_");
    generated(&plain).replace(&plain, &name)
}
