package bubble_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
)

func TestNetworkLetsTimeMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := bubble.NewNetwork()
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			<-time.After(time.Hour)
			fmt.Fprint(w, "late")
		})}
		go func() { _ = server.Serve(network) }()
		client := &http.Client{Transport: &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}}
		began := time.Now()
		resp, err := client.Get("http://" + network.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil || string(body) != "late" {
			t.Errorf("got %q, %v", body, err)
		}
		if took := time.Since(began); took != time.Hour {
			t.Errorf("took %v of the bubble's time, want 1h", took)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAdvanceOutsideOfABubblePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it waited in real time")
		}
	}()
	bubble.Advance(time.Nanosecond)
}
