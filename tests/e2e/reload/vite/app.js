export const number = EDIT;
