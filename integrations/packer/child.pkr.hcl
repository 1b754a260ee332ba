# The values are those of: imagectl resolve IMAGE --format qcow2 --as strings > parent.auto.pkrvars.json
variable "name" { type = string }
variable "version" { type = string }
variable "channel" { type = string }
variable "reference" { type = string }
variable "url" { type = string }
variable "sha256" { type = string }
variable "size" { type = string }
variable "location" { type = string }
variable "format" { type = string }
variable "architecture" { type = string }
variable "created" { type = string }

source "qemu" "child" {
  iso_url      = var.reference
  iso_checksum = "sha256:${var.sha256}"
  disk_image   = true
  headless     = true
  ssh_username = "root"
  vm_name      = "child-of-${var.name}-${var.version}"
}

build {
  sources = ["source.qemu.child"]
}
