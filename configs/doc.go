// Package configs reads tilegate's configuration: one YAML file, checked strictly, with every fault in it
// reported at once by line and column. docs/configuration.md is the reference for operators.
//
// Load goes through these steps; each adds its faults to the same report:
//
//   - The file is parsed (load.go). A file that is no YAML ends here: nothing else can be said about it.
//   - Config gets its defaults (defaults.go). They are tags of its fields, in config.go.
//   - The decoder walks through the file and Config together (decode.go). It finds unknown and repeated
//     keys and values of the wrong form, and fills in ${VAR} (env.go) and secrets (secret.go). Anchors,
//     aliases, merge keys and tags of YAML are refused.
//   - What follows from other keys is filled in, and relative paths are made to start at the file.
//   - The validator checks the rules about several keys, or about one key's meaning (validate*.go).
//   - The caller's own rules are checked: those that need the environment, or a package that is not
//     imported here. See Rule.
//
// The report knows where each key stands and which values could not be read. A rule about a value that
// could not be read is skipped, so that one mistake is one line. The rules about keys, algorithms, tokens
// and cookies belong to package auth: auth.Options.Check is asked, and its faults get their lines here.
//
// A Secret never shows its value, however it is printed, logged or marshalled. No fault shows a secret,
// the value of a variable, or a URL with a password.
//
// A new key is a field of Config with its tags, a row in docs/configuration.md and a line in
// tilegate.example.yaml, which the tests compare with Config. It needs code here only if it has a rule of
// its own or inherits its default from another key.
//
//	config, err := configs.Load("tilegate.yaml", os.LookupEnv)
//	var faults *configs.Error
//	if errors.As(err, &faults) {
//		for _, fault := range faults.Faults {
//			fmt.Println(fault) // tilegate.yaml:12:11: cache.fresh "5x": is not a duration; write 90s, 10m or 24h
//		}
//	}
package configs
