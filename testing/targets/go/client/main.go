// client: an HTTPS client in Go. It prints the number of body bytes received.
//
//	client [-n connections] [-c clients] [-k requests] [-h1=false] [-tls12] [-wrap] [-sleep ms] [-keylog file] url
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

var (
	connections = flag.Int("n", 1, "connections, one after another")
	clients     = flag.Int("c", 1, "clients at the same time, each with so many connections")
	requests    = flag.Int("k", 1, "requests on each connection")
	http1       = flag.Bool("h1", true, "HTTP/1.1 only")
	tls12       = flag.Bool("tls12", false, "TLS 1.2 at most")
	wrap        = flag.Bool("wrap", false, "a transport of a type of our own around the TCP connection")
	sleep       = flag.Int("sleep", 0, "ms to wait before the first connection")
	keylog      = flag.String("keylog", "", "append the key log: the truth for tests")
)

func main() {
	log.SetFlags(0)
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: client [options] url")
	}
	time.Sleep(time.Duration(*sleep) * time.Millisecond)
	totals := make(chan int64)
	for i := 0; i < *clients; i++ {
		go func() { totals <- runClient(flag.Arg(0)) }()
	}
	var total int64
	for i := 0; i < *clients; i++ {
		total += <-totals
	}
	fmt.Println(total)
}

func runClient(url string) (total int64) {
	for i := 0; i < *connections; i++ {
		total += runConnection(url)
	}
	return total
}

// runConnection opens a connection of its own and returns the bytes received.
func runConnection(url string) (total int64) {
	transport := newTransport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for i := 0; i < *requests; i++ {
		total += get(client, url)
	}
	return total
}

func newTransport() *http.Transport {
	config := &tls.Config{InsecureSkipVerify: true}
	if *tls12 {
		config.MaxVersion = tls.VersionTLS12
	}
	if *keylog != "" {
		file, err := os.OpenFile(*keylog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			log.Fatal(err)
		}
		config.KeyLogWriter = file
	}
	transport := &http.Transport{
		TLSClientConfig:    config,
		ForceAttemptHTTP2:  !*http1,
		DisableCompression: true,
	}
	if *wrap {
		transport.DialContext = dialWrapped
	}
	if *http1 {
		// An empty map, not nil, is what turns HTTP/2 off.
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	return transport
}

type wrapped struct{ net.Conn }

func dialWrapped(context context.Context, network, address string) (net.Conn, error) {
	connection, err := new(net.Dialer).DialContext(context, network, address)
	return wrapped{connection}, err
}

func get(client *http.Client, url string) int64 {
	response, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil {
		log.Fatal(err)
	}
	return n
}
