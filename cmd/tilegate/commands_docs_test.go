package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// docs/commands.md has a section for each command, with each of its flags and arguments in the words of its help, and nothing else.
func TestCommandsPageIsTheCommandLine(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "commands.md"))
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(page), "\n## tilegate ")[1:] {
		name, text, _ := strings.Cut(section, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		sections[name] = text
	}
	var c commands
	parser, err := kong.New(&c)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| (?:`-., )?`?(--[a-z]+|<[a-z]+>)[^|]*\\| ([^|]*) \\| (.*) \\|$")
	for _, command := range parser.Model.Leaves(false) {
		name := strings.TrimPrefix(command.Path(), "")
		name, _, _ = strings.Cut(name, " <")
		name, _, _ = strings.Cut(name, " [")
		text, ok := sections[name]
		if !ok {
			t.Errorf("there is no section %q", name)
			continue
		}
		delete(sections, name)
		want := map[string]*kong.Value{}
		for _, flag := range command.Flags {
			if flag.Name != "help" {
				want["--"+flag.Name] = flag.Value
			}
		}
		for _, argument := range command.Positional {
			if name != "help" { // its section says it in a sentence
				want["<"+argument.Name+">"] = argument
			}
		}
		for _, found := range row.FindAllStringSubmatch(strings.ReplaceAll(text, "`-c`, ", ""), -1) {
			value := want[found[1]]
			if value == nil {
				t.Errorf("%s: there is no %s", name, found[1])
				continue
			}
			delete(want, found[1])
			if said := strings.TrimSuffix(value.Help, " ($TILEGATE_CONFIG)"); found[3] != said {
				t.Errorf("%s %s: the page says %q, the help %q", name, found[1], found[3], said)
			}
			if value.HasDefault && found[2] != "`"+value.Default+"`" {
				t.Errorf("%s %s: the page has the default %s, the program %q", name, found[1], found[2], value.Default)
			}
			if required := value.Required && !slices.Contains(value.Tag.Envs, "TILEGATE_CONFIG"); required != (found[2] == "required") {
				t.Errorf("%s %s: the page says %q, and required is %v", name, found[1], found[2], required)
			}
		}
		for missing := range want {
			t.Errorf("%s: the page lacks %s", name, missing)
		}
	}
	for name := range sections {
		t.Errorf("there is no command %q", name)
	}
}
