package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

const (
	envelope = xml.Header + `<soapenv:Envelope` +
		` xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"` +
		` xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"` +
		` xmlns:xsd="http://www.w3.org/2001/XMLSchema"` +
		` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>`
	envelopeEnd = `</soapenv:Body></soapenv:Envelope>`
	namespace   = "urn:vim25"
)

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func xmlAnswer(status int, body []byte) *answer {
	return &answer{status, http.Header{"Content-Type": {"text/xml; charset=utf-8"}}, body}
}

// parse reads a call of the vim25 API.
func parse(body []byte) (*simulator.Method, error) {
	known := types.TypeFunc()
	return simulator.UnmarshalBody(func(name string) (reflect.Type, bool) {
		if found, ok := known(name); ok {
			return found, true
		}
		// Some clients write the type with their own prefix: "ns1:TraversalSpec".
		for at := range name {
			if name[at] == ':' {
				return known(name[at+1:])
			}
		}
		return nil, false
	}, body)
}

// makeFault makes the fault of that name, its fields from JSON with Go's names.
func makeFault(name string, fields json.RawMessage) (types.BaseMethodFault, error) {
	kind, ok := types.TypeFunc()(name)
	if !ok {
		return nil, fmt.Errorf("no such fault: %s", name)
	}
	made := reflect.New(kind).Interface()
	fault, ok := made.(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("not a fault: %s", name)
	}
	if len(fields) != 0 {
		if err := json.Unmarshal(fields, made); err != nil {
			return nil, err
		}
	}
	return fault, nil
}

// fault answers that the call has failed, as a vCenter does.
func fault(message string, fault types.BaseMethodFault) *answer {
	kind := reflect.TypeOf(fault).Elem().Name()
	var body bytes.Buffer
	body.WriteString(envelope + `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>`)
	must(xml.EscapeText(&body, []byte(message)))
	body.WriteString(`</faultstring><detail>`)
	encode(&body, fault, xml.StartElement{
		Name: xml.Name{Local: kind + "Fault"},
		Attr: []xml.Attr{
			{Name: xml.Name{Local: "xmlns"}, Value: namespace},
			{Name: xml.Name{Local: "xsi:type"}, Value: kind},
		},
	})
	body.WriteString(`</detail></soapenv:Fault>` + envelopeEnd)
	return xmlAnswer(http.StatusInternalServerError, body.Bytes())
}

// result answers with a value, one of the API's ...Response types.
func result(value interface{}) *answer {
	var body bytes.Buffer
	body.WriteString(envelope)
	encode(&body, value, xml.StartElement{
		Name: xml.Name{Local: reflect.TypeOf(value).Elem().Name()},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}},
	})
	body.WriteString(envelopeEnd)
	return xmlAnswer(http.StatusOK, body.Bytes())
}

func encode(to *bytes.Buffer, value interface{}, start xml.StartElement) {
	encoder := xml.NewEncoder(to)
	must(encoder.EncodeElement(value, start))
	must(encoder.Flush())
}
