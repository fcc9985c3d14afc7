package owner

import "strings"

// jvmValueOptions are the options of the java launcher that take the next
// argument as their value (IsModuleOption and IsLauncherOption in
// src/java.base/share/native/libjli/java.c of JDK 8 to 24).
var jvmValueOptions = map[string]bool{
	"-cp": true, "-classpath": true, "--class-path": true,
	"-p": true, "--module-path": true, "--upgrade-module-path": true,
	"--add-modules": true, "--limit-modules": true, "--enable-native-access": true,
	"--add-exports": true, "--add-opens": true, "--add-reads": true, "--patch-module": true,
	"-d": true, "--describe-module": true, "--source": true,
}

// JVMLabel tells what a java command line runs: the main class in full, the
// base name of the jar or source file, or the class or name of the module. It
// is empty where the command line does not tell.
func JVMLabel(argv []string) string {
	jar, argfile := false, false
	for i := 1; i < len(argv); i++ {
		arg := argv[i]
		switch {
		case arg == "-m" || arg == "--module":
			if i+1 < len(argv) {
				return moduleLabel(argv[i+1])
			}
			return ""
		case strings.HasPrefix(arg, "--module="):
			return moduleLabel(strings.TrimPrefix(arg, "--module="))
		case arg == "-jar":
			jar = true // more options may follow before the file
		case jvmValueOptions[arg]:
			i++
		case strings.HasPrefix(arg, "@") && len(arg) > 1:
			argfile = true
		case strings.HasPrefix(arg, "-") || arg == "":
		case jar || strings.HasSuffix(arg, ".java"):
			return base(arg)
		case argfile && !qualifiedClass(arg):
			// The file may have named the class: this may be its argument.
			return ""
		case strings.ContainsAny(arg, ":=@;'\" \t\r\n"):
			return "" // no class: whoever runs this is not the java launcher
		default:
			return strings.ReplaceAll(arg, "/", ".")
		}
	}
	return ""
}

// moduleLabel gives the class of module/class, else the module.
func moduleLabel(s string) string {
	if module, class, ok := strings.Cut(s, "/"); !ok || class == "" {
		return module
	}
	return base(s)
}

// qualifiedClass tells whether s looks like a class in a package, and not like
// the name of a file: org.example.Main.
func qualifiedClass(s string) bool {
	i := strings.LastIndexByte(s, '.')
	return i > 0 && i+1 < len(s) && s[i+1] >= 'A' && s[i+1] <= 'Z' && !strings.ContainsAny(s, "/:= ")
}
