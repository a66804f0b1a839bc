// forms: both ends of TLS connections whose calls go on in unusual ways. Prints "ready", waits for a line on standard
// input, and makes one connection after another, most of which carry their name 1000 times in both directions. Prints
// "done" and waits for another line.
//
//	forms cert key
package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"strings"
)

// transport runs something before each write.
type transport struct {
	net.Conn
	before func()
}

func (t *transport) Write(bytes []byte) (int, error) {
	t.before()
	return t.Conn.Write(bytes)
}

// grow uses so much stack that the runtime has to move it.
func grow(depth int) byte {
	var page [4096]byte
	page[depth%len(page)] = 1
	if depth == 0 {
		return page[0]
	}
	return grow(depth-1) + page[depth%len(page)]
}

var config *tls.Config

func main() {
	log.SetFlags(0)
	cert, err := tls.LoadX509KeyPair(os.Args[1], os.Args[2])
	check(err)
	config = &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true}
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	input.ReadString('\n')
	exchange("grown", func() { grow(100) })
	leave("panic", func() { panic("in a write") })
	exchange("after a panic", func() {})
	leave("goexit", runtime.Goexit)
	exchange("after an exit", func() {})
	nested()
	closed()
	fmt.Println("done")
	input.ReadString('\n')
}

// connect makes a connection, and an echo at its other end.
func connect(before func()) *tls.Conn {
	near, far := pair()
	go echo(tls.Server(far, config))
	return tls.Client(&transport{near, before}, config)
}

func exchange(name string, before func()) {
	client := connect(before)
	talk(client, name)
	check(client.Close())
}

// leave ends a goroutine inside of a write, which has sent nothing.
func leave(name string, before func()) {
	left := func() {}
	client := connect(func() { left() })
	check(client.Handshake())
	over := make(chan bool)
	go func() {
		defer close(over)
		defer func() { recover() }()
		left = before
		talk(client, name)
	}()
	<-over
	left = func() {}
	check(client.Close())
}

// nested is TLS inside of TLS.
func nested() {
	near, far := pair()
	go echo(tls.Server(tls.Server(far, config), config))
	inner := tls.Client(near, config)
	outer := tls.Client(inner, config)
	talk(outer, "nested")
	check(outer.Close())
}

// closed is a connection that is closed while a goroutine reads from it. Only that tells where the answer ends.
func closed() {
	near, far := pair()
	go answer(tls.Server(far, config))
	client := tls.Client(near, config)
	_, err := io.WriteString(client, "GET /closed HTTP/1.0\r\n\r\n")
	check(err)
	whole, over := make(chan bool), make(chan bool)
	go func() {
		defer close(over)
		io.ReadFull(client, make([]byte, len(endless)))
		close(whole)
		client.Read(make([]byte, 1))
	}()
	<-whole
	check(client.Close())
	<-over
}

const endless = "HTTP/1.0 200 OK\r\n\r\nThis is all."

func answer(connection *tls.Conn) {
	defer connection.Close()
	connection.Read(make([]byte, 1000))
	io.WriteString(connection, endless)
}

func pair() (near, far net.Conn) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer listener.Close()
	near, err = net.Dial("tcp", listener.Addr().String())
	check(err)
	far, err = listener.Accept()
	check(err)
	return near, far
}

func echo(connection *tls.Conn) {
	defer connection.Close()
	io.Copy(connection, connection)
}

func talk(connection *tls.Conn, name string) {
	text := strings.Repeat(name+"\n", 1000)
	_, err := io.WriteString(connection, text)
	check(err)
	answer := make([]byte, len(text))
	_, err = io.ReadFull(connection, answer)
	check(err)
	if string(answer) != text {
		log.Fatal("another answer")
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
