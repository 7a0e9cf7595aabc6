// One peer of a groupcache over the rows of a CSV file: GET /v1/rows/KEY, GET /loads.
//
// Built by bench/rivals with Debian's packages (GO111MODULE=off GOPATH=/usr/share/gocode).
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang/groupcache"
)

const prefix = "/v1/rows/"

func main() {
	self := flag.String("self", "", "HOST:PORT of this peer")
	peers := flag.String("peers", "", "HOST:PORT of all peers, with commas")
	rows := flag.String("rows", "", "a CSV file with a header line: key,value")
	latency := flag.Duration("latency", 0, "how long a load takes")
	flag.Parse()

	values, err := read(*rows)
	if err != nil {
		log.Fatal(err)
	}
	pool := groupcache.NewHTTPPool("http://" + *self)
	// The default keeps two idle connections per peer and opens a new one for most requests.
	transport := &http.Transport{MaxIdleConnsPerHost: 4096}
	pool.Transport = func(context.Context) http.RoundTripper { return transport }
	var urls []string
	for _, peer := range strings.Split(*peers, ",") {
		urls = append(urls, "http://"+peer)
	}
	pool.Set(urls...)

	var loads int64
	load := func(_ context.Context, key string, dest groupcache.Sink) error {
		atomic.AddInt64(&loads, 1)
		time.Sleep(*latency)
		value, ok := values[key]
		if !ok {
			return errors.New("no such key")
		}
		return dest.SetBytes(value)
	}
	// Room for all rows many times over: nothing is evicted.
	group := groupcache.NewGroup("rows", 1<<30, groupcache.GetterFunc(load))

	http.HandleFunc(prefix, func(w http.ResponseWriter, r *http.Request) {
		// A view shares the cached bytes: no copy per request.
		var value groupcache.ByteView
		if err := group.Get(r.Context(), r.URL.Path[len(prefix):], groupcache.ByteViewSink(&value)); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		value.WriteTo(w)
	})
	http.HandleFunc("/loads", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, atomic.LoadInt64(&loads))
	})
	log.Fatal(http.ListenAndServe(*self, nil))
}

func read(path string) (map[string][]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	values := make(map[string][]byte)
	lines := bufio.NewScanner(file)
	lines.Scan()
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), ","); ok {
			values[key] = []byte(value)
		}
	}
	return values, lines.Err()
}
