schema: '1.2'
contents:
  - loans.fga
  - base/people.fga
  - base/places.fga
