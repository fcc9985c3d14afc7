package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
)

// zkPEMMax bounds a file of certificates: the Mozilla bundle has 220 KB.
const zkPEMMax = 4 << 20

type zkTLSOptions struct {
	on                        bool
	ca, cert, key, serverName string
	insecure                  bool
}

func (o *zkTLSOptions) flags(f *pflag.FlagSet) {
	f.BoolVar(&o.on, "tls", false, "ask inside TLS where the port stays silent to plain text")
	f.StringVar(&o.ca, "tls-ca", "", "PEM file of the authorities that may sign the server's certificate (default: the system's)")
	f.StringVar(&o.cert, "tls-cert", "", "PEM file of the client's certificate, which servers ask for by default")
	f.StringVar(&o.key, "tls-key", "", "PEM file of its private key, without a password")
	f.StringVar(&o.serverName, "tls-server-name", "", "name that the server's certificate must have (default: HOST)")
	f.BoolVar(&o.insecure, "tls-insecure", false, "do not check the server's certificate")
}

// config is nil where TLS is not wanted. Nothing but the named files is read.
func (o *zkTLSOptions) config() (*tls.Config, error) {
	switch {
	case !o.on && (o.ca+o.cert+o.key+o.serverName != "" || o.insecure):
		return nil, errors.New("--tls-... means nothing without --tls")
	case !o.on:
		return nil, nil
	case (o.cert == "") != (o.key == ""):
		return nil, errors.New("--tls-cert and --tls-key belong together: give both")
	case o.insecure && o.ca != "":
		return nil, errors.New("--tls-insecure checks nothing: give it or --tls-ca")
	}
	c := &tls.Config{ServerName: o.serverName, InsecureSkipVerify: o.insecure}
	if o.ca != "" {
		pem, err := readPEM("--tls-ca", o.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca %.200q: no certificate in it", o.ca)
		}
	}
	if o.cert != "" {
		cert, err := readPEM("--tls-cert", o.cert)
		if err != nil {
			return nil, err
		}
		key, err := readPEM("--tls-key", o.key)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert %.200q with --tls-key %.200q: %w", o.cert, o.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func readPEM(flag, name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		var in *os.PathError
		if errors.As(err, &in) {
			err = in.Err
		}
		return nil, fmt.Errorf("%s %.200q: %w", flag, name, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, zkPEMMax))
	if err != nil {
		return nil, fmt.Errorf("%s %.200q: %w", flag, name, err)
	}
	if !bytes.Contains(text, []byte("-----BEGIN ")) {
		return nil, fmt.Errorf("%s %.200q: no PEM in it; of a Java key store, keytool -importkeystore -deststoretype PKCS12 and openssl pkcs12 -nodes make PEM", flag, name)
	}
	return text, nil
}
