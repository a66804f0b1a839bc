// server: an HTTPS file server in Go, HTTP/1.1 only. It prints "ready" when it listens.
//
//	server address cert key directory
package main

import (
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 5 {
		log.Fatal("usage: server address cert key directory")
	}
	address, cert, key, directory := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	server := &http.Server{
		Handler: http.FileServer(http.Dir(directory)),
		// An empty map, not nil, is what turns HTTP/2 off.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	log.Fatal(server.ServeTLS(listener, cert, key))
}
