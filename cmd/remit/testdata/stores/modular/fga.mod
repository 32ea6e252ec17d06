schema: "1.2"
contents:
  - base.fga
  - wards/ward.fga
