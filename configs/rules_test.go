package configs_test

import (
	"slices"
	"strings"
	"testing"

	"tilegate/configs"
)

// A caller's rules are reported together with the others, at their keys and in the order of the lines.
func TestFaultsOfRulesStandAmongTheOthers(t *testing.T) {
	rule := func(c *configs.Config) []configs.Fault {
		if len(c.Tilesets) != 1 {
			t.Errorf("the rule sees %d tilesets", len(c.Tilesets))
		}
		return []configs.Fault{
			{Key: "cache.memory", Problem: "is more than there is", Hint: "write less"},
			{Key: "aws.region", Problem: "is not set"},
			{Key: "server.drain_delay", Problem: "is dropped: it could not be read"},
			{Key: "logging.format", Problem: "is dropped: it has a fault already"},
		}
	}
	const file = "server: {drain_delay: soon}\ncache:\n  memory: 1GiB\nlogging: {format: xml}\n" + minimal
	_, err := configs.Parse("tilegate.yaml", []byte(file), env(), rule)
	if err == nil {
		t.Fatal("accepted")
	}
	want := []string{
		`tilegate.yaml:1:1: aws.region: is not set`,
		`tilegate.yaml:1:23: server.drain_delay "soon": is not a duration; write 90s, 10m or 24h`,
		`tilegate.yaml:3:11: cache.memory "1GiB": is more than there is; write less`,
		`tilegate.yaml:4:19: logging.format "xml": is none of json, text`,
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", err, strings.Join(want, "\n"))
	}
}
