package owner

import (
	"slices"
	"strings"
)

// interpreter is a program whose name says too little of what runs.
type interpreter struct {
	// code are the short options after which no script is named: what runs
	// stands in the command line itself.
	code string
	// module is the short option that names a module instead of a script.
	module string
	// values are the short options that take a value, attached or next.
	values string
	// attached are the short options whose value, if any, is attached.
	attached string
	// long are the long options that take the next argument.
	long []string
	// codeLong are the long options after which no script is named.
	codeLong []string
}

var (
	python = interpreter{code: "c", module: "m", values: "WXQ", long: []string{"--check-hash-based-pycs"}}
	node   = interpreter{
		code: "ep", values: "rC",
		long: []string{
			"--require", "--import", "--loader", "--experimental-loader", "--conditions",
			"--env-file", "--title", "--icu-data-dir", "--openssl-config", "--diagnostic-dir",
		},
		codeLong: []string{"--eval", "--print"},
	}
	ruby  = interpreter{code: "e", values: "rICE", attached: "KTWx0F"}
	perl  = interpreter{code: "eE", values: "I", attached: "MmDFixV"}
	shell = interpreter{code: "c", values: "oO", long: []string{"--rcfile", "--init-file"}}
)

// interpreters by name, without the version (python3.11, ruby3.1).
var interpreters = map[string]interpreter{
	"python": python, "pypy": python, "node": node, "nodejs": node, "ruby": ruby, "perl": perl,
	"sh": shell, "bash": shell, "dash": shell, "zsh": shell, "ksh": shell, "ash": shell,
}

// label tells what a process runs where its name says too little: the main
// class or jar of a JVM, the script or module of an interpreter.
func label(exe string, argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	name := base(strings.TrimPrefix(argv[0], "-")) // a login shell is called -bash
	program := base(strings.TrimSuffix(exe, " (deleted)"))
	if name == "java" || program == "java" {
		return JVMLabel(argv)
	}
	for _, n := range []string{name, program} {
		if in, ok := interpreters[strings.TrimRight(n, "0123456789.")]; ok {
			return in.label(argv)
		}
	}
	return ""
}

// openLabel is label, but never a value that the command line marks as secret
// and that was taken for a script.
func openLabel(exe string, argv []string) string {
	l := label(exe, argv)
	for i := 1; i < len(argv) && l != ""; i++ {
		if isPendingValue(pendingAfter(argv[i-1]), argv[i]) && strings.HasSuffix(argv[i], l) {
			return ""
		}
	}
	return maskArg(l, false)
}

// label finds the script or module in the command line.
func (in interpreter) label(argv []string) string {
	for i := 1; i < len(argv); i++ {
		arg := argv[i]
		switch {
		case arg == "--":
			if i+1 < len(argv) {
				return base(argv[i+1])
			}
			return ""
		case strings.HasPrefix(arg, "--"):
			name, _, hasValue := strings.Cut(arg, "=")
			if slices.Contains(in.codeLong, name) {
				return ""
			}
			if !hasValue && slices.Contains(in.long, name) {
				i++
			}
		case len(arg) > 1 && (arg[0] == '-' || arg[0] == '+'):
			kind, rest := in.cluster(arg[1:])
			if rest == "" && i+1 < len(argv) {
				rest = argv[i+1]
			}
			switch kind {
			case isCode:
				return ""
			case isModule:
				return rest
			case isValue:
				i++
			}
		case arg == "-":
			return "" // standard input
		default:
			return base(arg)
		}
	}
	return ""
}

type clusterKind int

const (
	isFlags  clusterKind = iota // no value, or an attached one
	isCode                      // code stands in the command line
	isModule                    // rest, or the next argument, is the module
	isValue                     // the next argument is a value
)

// cluster reads options written together (-eu, -um, -Wall) and gives what was
// attached to a module option.
func (in interpreter) cluster(opts string) (kind clusterKind, rest string) {
	for i, c := range opts {
		switch {
		case strings.ContainsRune(in.code, c):
			return isCode, ""
		case strings.ContainsRune(in.module, c):
			return isModule, opts[i+1:]
		case strings.ContainsRune(in.attached, c):
			return isFlags, ""
		case strings.ContainsRune(in.values, c):
			if i+1 < len(opts) && !in.isShell() {
				return isFlags, ""
			}
			kind = isValue // a shell reads the value of -euo from the next argument
		}
	}
	return kind, ""
}

func (in interpreter) isShell() bool { return in.values == shell.values }
