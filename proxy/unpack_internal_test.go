package proxy

import (
	"context"
	"errors"
	"testing"
)

// Decoders with a large window are bounded in number, whatever clients ask for; one that is done makes room.
func TestManyUnpackingClientsAreBounded(t *testing.T) {
	p := &Proxy{unpacking: make(chan struct{}, 1)}
	_, release, err := p.openUnpacker(t.Context(), "br", &tileReader{})
	if err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, coding := range []string{"br", "zstd"} {
		if _, _, err := p.openUnpacker(gone, coding, &tileReader{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v while the only slot is taken", coding, err)
		}
	}
	release()
	_, release, err = p.openUnpacker(t.Context(), "zstd", &tileReader{})
	if err != nil {
		t.Fatal(err)
	}
	release()
	if len(p.unpacking) != 0 {
		t.Error("a slot is still taken")
	}
}
