-- Lost: teams, members, invitations and the access log. The events and series of teams stay, and belong to nobody.
DROP TABLE access_log;
DROP TABLE invitations;
DROP TABLE members;
DROP TABLE organizations;
